"""containerd's content store: blobs by digest, half-written ones by reference, leases against garbage collection."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import TypeVar
from uuid import uuid4

from google.protobuf.field_mask_pb2 import FieldMask

from setpoint._pb import content_pb2, leases_pb2
from setpoint.drivers.containerd import rpc
from setpoint.drivers.containerd.channel import Channel
from state.clock import rfc3339
from state.errors import AlreadyExists, Invalid, NotFound, TooLarge

WRITE_CHUNK_BYTES = 1 << 20
READ_LIMIT_BYTES = 8 << 20
"""Of documents (manifests, configs, indexes) that are read whole; containerd itself takes 8 MiB."""

BEGIN_DEADLINE_S = 30.0

LEASE_LIFE = timedelta(hours=24)

Self = TypeVar("Self", bound="Content")


class Content:
    """Blobs of one containerd namespace. Whatever is written outside of :meth:`leased` may be collected at once."""

    def __init__(self, channel: Channel) -> None:
        self.channel = channel

    def _bound(self: Self, channel: Channel) -> Self:
        return type(self)(channel)

    @contextlib.asynccontextmanager
    async def leased(self: Self, name: str = "") -> AsyncIterator[Self]:
        """The same store; what is made through it is kept until the block ends, or for a day after a crash.

        With a ``name`` it is also kept for a day when the block fails, and the next block of that name takes it over. Only one
        such block may be open at a time.
        """
        lease = f"setpoint-{name or uuid4()}"
        expire = rfc3339(datetime.now(UTC) + LEASE_LIFE)
        request = leases_pb2.CreateRequest(id=lease, labels={"containerd.io/gc.expire": expire})
        with contextlib.suppress(*((AlreadyExists,) if name else ())):
            await self.channel.call(rpc.LEASE_CREATE, request)
        done = not name
        try:
            yield self._bound(self.channel.leased(lease))
            done = True
        finally:
            if done:
                with contextlib.suppress(NotFound):
                    await self.channel.call(rpc.LEASE_DELETE, leases_pb2.DeleteRequest(id=lease))

    async def has(self, digest: str) -> bool:
        """Whether the whole blob is there."""
        try:
            await self.size(digest)
        except NotFound:
            return False
        return True

    async def size(self, digest: str) -> int:
        """Bytes of a blob. Raises NotFound."""
        return (await self.channel.call(rpc.CONTENT_INFO, content_pb2.InfoRequest(digest=digest))).info.size

    async def read(self, digest: str, *, limit_bytes: int = READ_LIMIT_BYTES) -> bytes:
        """A whole small blob. Raises NotFound; TooLarge over ``limit_bytes``."""
        if (size := await self.size(digest)) > limit_bytes:
            raise TooLarge(f"{digest} has {size} bytes, more than the {limit_bytes} that are read whole")
        return b"".join([chunk async for chunk in self.chunks(digest)])

    async def chunks(self, digest: str) -> AsyncIterator[bytes]:
        """A blob in pieces of containerd's choice. Raises NotFound."""
        request = content_pb2.ReadContentRequest(digest=digest)
        async for reply in self.channel.stream(rpc.CONTENT_READ, request, timeout_s=None):
            yield reply.data

    async def label(self, digest: str, labels: Mapping[str, str]) -> None:
        """Sets these labels of a blob and leaves its others. Raises NotFound."""
        info = content_pb2.Info(digest=digest, labels=labels)
        mask = FieldMask(paths=[f"labels.{name}" for name in labels])
        await self.channel.call(rpc.CONTENT_UPDATE, content_pb2.UpdateRequest(info=info, update_mask=mask))

    async def begin(self, ref_key: str, digest: str, size: int) -> int:
        """Opens a half-written blob, and tells from where on its bytes are wanted. ``size`` when none are: the blob is here, or
        another namespace has it and containerd takes it over with the commit."""
        stat = content_pb2.WriteContentRequest(action=content_pb2.STAT, ref=ref_key, total=size, expected=digest)
        try:
            reply = await self.channel.upload(rpc.CONTENT_WRITE, [stat], timeout_s=BEGIN_DEADLINE_S)
        except AlreadyExists:
            return size
        return reply.offset if reply is not None else 0

    async def offset(self, ref_key: str) -> int:
        """How many bytes of a half-written blob are there: where a download goes on; 0 when there is none."""
        try:
            reply = await self.channel.call(rpc.CONTENT_STATUS, content_pb2.StatusRequest(ref=ref_key))
        except NotFound:
            return 0
        return reply.status.offset

    async def abort(self, ref_key: str) -> None:
        """Forgets a half-written blob; one that is not there is fine."""
        with contextlib.suppress(NotFound):
            await self.channel.call(rpc.CONTENT_ABORT, content_pb2.AbortRequest(ref=ref_key))

    async def write(
        self,
        ref_key: str,
        digest: str,
        size: int,
        chunks: AsyncIterator[bytes],
        labels: Mapping[str, str] | None = None,
        *,
        offset: int = 0,
    ) -> None:
        """The blob is there, whole and verified by containerd. One that is there already is fine: nothing is read then.

        ``ref_key`` names the half-written blob; ``chunks`` start at ``offset``, which :meth:`begin` told. ``size`` 0 =
        unknown. Raises Invalid when bytes and digest or size do not agree: the half-written blob is then forgotten, to be
        had again from the start. After any other error it stays, to be gone on with.
        """
        if await self.has(digest):
            return
        # An error that leaves grpc's request iterator cancels the task that waits for the reply; so it takes another way.
        broken: list[Exception] = []
        writes = _writes(ref_key, digest, size, _caught(chunks, broken), dict(labels or {}), offset, broken)
        try:
            await self.channel.upload(rpc.CONTENT_WRITE, writes, timeout_s=None)
        except AlreadyExists:
            return
        except Exception as error:
            if broken:
                raise broken[0] from error
            if _is_mismatch(error):
                await self.abort(ref_key)
                raise Invalid(f"the bytes received for {digest} are not what the digest promises: {error}") from error
            raise
        if broken:
            raise broken[0]

    async def put_bytes(self, data: bytes, labels: Mapping[str, str] | None = None) -> str:
        """A small blob from memory; returns its digest."""

        async def once(rest: bytes) -> AsyncIterator[bytes]:
            yield rest

        digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
        ref_key = f"setpoint-{uuid4()}"  # two writers of one key would lock each other out
        offset = await self.begin(ref_key, digest, len(data))
        await self.write(ref_key, digest, len(data), once(data[offset:]), labels, offset=offset)
        return digest


async def _caught(chunks: AsyncIterator[bytes], broken: list[Exception]) -> AsyncIterator[bytes]:
    try:
        async for chunk in chunks:
            yield chunk
    except Exception as error:
        broken.append(error)


async def _writes(
    ref_key: str,
    digest: str,
    size: int,
    chunks: AsyncIterator[bytes],
    labels: dict[str, str],
    offset: int,
    broken: Sequence[Exception],
) -> AsyncIterator[content_pb2.WriteContentRequest]:
    """Without the commit when ``broken`` holds something at the end: containerd then keeps what it got."""
    async for chunk in chunks:
        for start in range(0, len(chunk), WRITE_CHUNK_BYTES):
            data = chunk[start : start + WRITE_CHUNK_BYTES]
            yield content_pb2.WriteContentRequest(
                action=content_pb2.WRITE, ref=ref_key, total=size, expected=digest, offset=offset, data=data
            )
            offset += len(data)
    if broken:
        return
    yield content_pb2.WriteContentRequest(
        action=content_pb2.COMMIT, ref=ref_key, total=size, expected=digest, offset=offset, labels=labels
    )


def _is_mismatch(error: Exception) -> bool:
    # content/local/writer.go: "unexpected commit size" / "unexpected commit digest", both FAILED_PRECONDITION
    return "unexpected commit" in str(error)
