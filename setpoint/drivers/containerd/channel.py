"""One connection to containerd that comes back by itself, and the translation of its errors into ours."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable
from functools import partial
from typing import Any, TypeVar

import grpc
import grpc.aio
from google.protobuf.message import Message

from setpoint.drivers.containerd.rpc import Call
from state.errors import (
    AlreadyExists,
    Busy,
    Conflict,
    Denied,
    InDoubt,
    Invalid,
    NotFound,
    StateError,
    TooLarge,
    Unavailable,
)

Request = TypeVar("Request", bound=Message)
Reply = TypeVar("Reply", bound=Message)

DEFAULT_DEADLINE_S = 15.0
"""For calls that touch containerd's database only; they take a millisecond, and seconds on a disk that is drowning."""

MAX_MESSAGE_BYTES = 64 << 20

_OPTIONS: tuple[tuple[str, int], ...] = (
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
    # The peer is on this host: a new attempt costs nothing, so that a restarted containerd is found within half a second.
    ("grpc.initial_reconnect_backoff_ms", 50),
    # Not a back-off, whatever its name: how long one attempt may take. A busy host needs more than the blink that others do.
    ("grpc.min_reconnect_backoff_ms", 5000),
    ("grpc.max_reconnect_backoff_ms", 500),
    # A channel of its own per object: two channels to one target would else share one connection and its back-off.
    ("grpc.use_local_subchannel_pool", 1),
)

_TABLE: dict[grpc.StatusCode, type[StateError]] = {
    grpc.StatusCode.NOT_FOUND: NotFound,
    grpc.StatusCode.ALREADY_EXISTS: AlreadyExists,
    grpc.StatusCode.FAILED_PRECONDITION: Conflict,
    grpc.StatusCode.ABORTED: Conflict,
    grpc.StatusCode.INVALID_ARGUMENT: Invalid,
    grpc.StatusCode.OUT_OF_RANGE: Invalid,
    grpc.StatusCode.UNIMPLEMENTED: Invalid,
    grpc.StatusCode.PERMISSION_DENIED: Denied,
    grpc.StatusCode.UNAUTHENTICATED: Denied,
    grpc.StatusCode.UNAVAILABLE: Unavailable,
    grpc.StatusCode.DEADLINE_EXCEEDED: InDoubt,
    grpc.StatusCode.CANCELLED: InDoubt,
}
"""Everything else (UNKNOWN, INTERNAL, DATA_LOSS) is a plain, retryable StateError: containerd wraps runc's texts in UNKNOWN."""

# Texts of grpc's core for a connection that was never made: the request did not leave this process.
_NEVER_SENT = (
    "failed to connect",
    "name resolution",
    "connections to all backends failing",
    "connection refused",
    "No such file",
)


def translate(error: grpc.aio.AioRpcError, *, reads: bool) -> StateError:
    """The error of ours for one of grpc's. ``reads``: the call changes nothing, so nothing can be in doubt."""
    code, detail = error.code(), error.details() or error.code().name
    if code is grpc.StatusCode.RESOURCE_EXHAUSTED:
        return TooLarge(detail) if "message larger" in detail else Busy(detail, retry_after_s=1)
    kind = _TABLE.get(code)
    if kind is None:
        return StateError(detail)
    if kind is InDoubt and reads:
        return Unavailable(f"containerd did not answer in time: {detail}")
    if kind is Unavailable and any(text in detail for text in _NEVER_SENT):
        return Unavailable("containerd cannot be reached: it is not running, or is just starting")
    if kind is Unavailable and not reads:
        return InDoubt(f"the connection to containerd broke under the call: {detail}")
    return kind(detail)


class Channel:
    """Calls in one containerd namespace, with a deadline each.

    Raises (every call): errors of :mod:`state.errors`. A deadline ends our waiting, not the call, hence InDoubt for what
    changes something. While containerd is away calls fail at once with Unavailable; the connection comes back by itself.
    """

    def __init__(self, address: str, namespace: str = "setpoint", *, lease: str = "") -> None:
        """``address``: path of containerd's socket, with or without ``unix://``. ``lease``: sent with every call."""
        self.address = address.removeprefix("unix://")
        self.namespace = namespace
        self._channel: grpc.aio.Channel | None = None
        self._parent: Channel | None = None
        self._metadata: tuple[tuple[str, str], ...] = (("containerd-namespace", namespace),)
        if lease:
            self._metadata += (("containerd-lease", lease),)
        self._stubs: dict[str, Callable[..., Any]] = {}
        self._under_way: set[asyncio.Future[Any]] = set()

    def leased(self, lease: str) -> Channel:
        """The same connection; what its calls make is protected by the lease."""
        other = Channel(self.address, self.namespace, lease=lease)
        other._parent = self._parent or self
        return other

    def _connection(self) -> grpc.aio.Channel:
        if self._parent is not None:
            return self._parent._connection()
        if self._channel is None:  # made inside the running loop, which grpc.aio binds to
            self._channel = grpc.aio.insecure_channel(f"unix://{self.address}", options=_OPTIONS)
        return self._channel

    def _stub(self, kind: str, call: Call[Request, Reply]) -> Callable[..., Any]:
        stub = self._stubs.get(call.path)
        if stub is None:
            make = getattr(self._connection(), kind)
            stub = self._stubs[call.path] = make(
                call.path, request_serializer=call.request.SerializeToString, response_deserializer=call.reply.FromString
            )
        return stub

    async def call(
        self, call: Call[Request, Reply], request: Request, *, timeout_s: float | None = DEFAULT_DEADLINE_S
    ) -> Reply:
        """One request, one reply."""
        try:
            reply: Reply = await self._stub("unary_unary", call)(request, timeout=timeout_s, metadata=self._metadata)
        except grpc.aio.AioRpcError as error:
            raise translate(error, reads=call.reads) from error
        return reply

    async def patient(
        self, call: Call[Request, Reply], request: Request, *, wait_s: float, settled: Callable[[], None] | None = None
    ) -> Reply:
        """Like :meth:`call`, but only our waiting ends: a deadline or a cancellation of ours does not reach the other side.

        grpc's own deadline would: containerd drops what it is doing, and a dropped ``Tasks.Create`` can leave a shim behind.
        ``settled`` is called when the other side has answered, whether we still wait or not.
        """
        running = asyncio.ensure_future(self.call(call, request, timeout_s=None))
        self._under_way.add(running)
        running.add_done_callback(partial(self._settled, settled))
        try:
            return await asyncio.wait_for(asyncio.shield(running), wait_s)
        except TimeoutError as error:
            raise InDoubt(f"containerd has not answered {call.path} within {wait_s:g} s") from error

    def _settled(self, tell: Callable[[], None] | None, running: asyncio.Future[Any]) -> None:
        self._under_way.discard(running)
        if tell is not None:
            tell()
        if not running.cancelled():
            running.exception()  # nobody may be waiting any more; a look will tell what came of it

    async def stream(
        self, call: Call[Request, Reply], request: Request, *, timeout_s: float | None = DEFAULT_DEADLINE_S
    ) -> AsyncIterator[Reply]:
        """One request, many replies; ``timeout_s`` covers all of them."""
        running = self._stub("unary_stream", call)(request, timeout=timeout_s, metadata=self._metadata)
        try:
            async for reply in running:
                yield reply
        except grpc.aio.AioRpcError as error:
            raise translate(error, reads=call.reads) from error
        finally:
            running.cancel()

    async def upload(
        self, call: Call[Request, Reply], requests: AsyncIterator[Request] | Iterable[Request], *, timeout_s: float | None
    ) -> Reply | None:
        """Many requests; the last reply."""
        running = self._stub("stream_stream", call)(requests, timeout=timeout_s, metadata=self._metadata)
        last: Reply | None = None
        try:
            async for reply in running:
                last = reply
        except grpc.aio.AioRpcError as error:
            raise translate(error, reads=call.reads) from error
        finally:
            running.cancel()
        return last

    async def close(self) -> None:
        """Ends the connection; calls under way fail."""
        for running in tuple(self._under_way):
            running.cancel()
        channel, self._channel = self._channel, None
        self._stubs.clear()
        if channel is not None:
            await channel.close(None)
