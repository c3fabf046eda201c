"""A stream from a client as a file of ours that can be searched: gzip is undone on the way; it goes with its descriptor."""

from __future__ import annotations

import os
import tempfile
import zlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import IO

from setpoint.drivers.threads import DriverThread
from state.errors import Invalid, TooLarge, Unavailable

MAX_BYTES = 256 << 30
KEEP_FREE_BYTES = 512 << 20
"""Of the disk: containers and the store live on it too."""

_GZIP = b"\x1f\x8b"


class Spool:
    """Writes a stream into a nameless file of ``folder``. All of it in the given thread."""

    def __init__(self, folder: Path, thread: DriverThread, *, max_bytes: int = MAX_BYTES) -> None:
        self._folder = folder
        self._thread = thread
        self._max_bytes = max_bytes

    async def fill(self, stream: AsyncIterator[bytes]) -> IO[bytes]:
        """The whole stream; the caller closes the file, which frees the disk.

        Raises: TooLarge, Invalid for broken gzip, Unavailable when the disk is nearly full.
        """
        file = await self._thread.run(self._open)
        try:
            writer = _Writer(file, self._max_bytes)
            async for chunk in stream:
                await self._thread.run(writer.write, chunk)
            await self._thread.run(writer.finish)
        except BaseException:
            file.close()
            raise
        return file

    def _open(self) -> IO[bytes]:
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        return tempfile.TemporaryFile(dir=self._folder)


class _Writer:
    def __init__(self, file: IO[bytes], max_bytes: int) -> None:
        self._file = file
        self._max_bytes = max_bytes
        self._head = b""
        self._size = 0
        self._unzip: zlib._Decompress | None = None
        self._begun = False

    def write(self, chunk: bytes) -> None:
        if not self._begun:
            self._head += chunk
            if len(self._head) < len(_GZIP):
                return
            chunk, self._head, self._begun = self._head, b"", True
            if chunk.startswith(_GZIP):
                self._unzip = zlib.decompressobj(wbits=31)
        if self._unzip is None:
            self._put(chunk)
        else:
            self._put_unzipped(chunk)

    def finish(self) -> None:
        if not self._begun:
            self._put(self._head)
        if self._unzip is not None and not self._unzip.eof:
            raise Invalid("the archive's gzip stream ends too early")
        self._file.flush()

    def _put_unzipped(self, chunk: bytes) -> None:
        """In bounded pieces, since one byte of gzip can hold a thousand."""
        while chunk:
            assert self._unzip is not None
            try:
                if self._unzip.eof:  # gzip files may be several, one behind the other
                    if not chunk.startswith(_GZIP[:1]):
                        return  # padding behind the end
                    self._unzip = zlib.decompressobj(wbits=31)
                self._put(self._unzip.decompress(chunk, 1 << 20))
            except zlib.error as exc:
                raise Invalid(f"the archive's gzip stream is broken: {exc}") from exc
            chunk = self._unzip.unconsumed_tail or self._unzip.unused_data

    def _put(self, data: bytes) -> None:
        self._size += len(data)
        if self._size > self._max_bytes:
            raise TooLarge(f"the archive is larger than {self._max_bytes >> 20} MiB")
        info = os.fstatvfs(self._file.fileno())
        if info.f_bavail * info.f_frsize < KEEP_FREE_BYTES:
            raise Unavailable(f"less than {KEEP_FREE_BYTES >> 20} MiB would be left on the disk")
        try:
            self._file.write(data)
        except OSError as exc:
            raise Unavailable(f"the archive cannot be stored: {exc.strerror}") from exc
