"""The real pump, in a process of its own and reached over its socket, keeps the contract of Logs."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Iterator

import pytest

from controllers.container.ports import Logs, LogWish
from setpoint.drivers.logs import LogLine, read_log
from setpoint.drivers.pump import Pump
from setpoint.testing.fake_logs import Printed
from setpoint.testing.keeper_server import KeeperServer
from setpoint.testing.logs_contract import WISH, LogsContract
from state.errors import NotFound, Unavailable


@pytest.fixture(scope="module")
def server() -> Iterator[KeeperServer]:
    with KeeperServer() as server:
        server.start()
        yield server


class TestPump(LogsContract):
    @pytest.fixture
    async def logs(self, server: KeeperServer) -> AsyncIterator[Pump]:
        self.server = server
        self.open_ends: dict[str, int] = {}
        pump = Pump(server.run_dir)
        yield pump
        for uid in await pump.list():
            await pump.close(uid, keep_tail=False)
        await pump.close(WISH.uid, keep_tail=False)
        await pump.disconnect()
        for fd in self.open_ends.values():
            os.close(fd)

    async def write(self, logs: Logs, path: str, data: bytes) -> None:
        if path not in self.open_ends:
            self.open_ends[path] = os.open(path, os.O_WRONLY)
        os.write(self.open_ends[path], data)

    async def finish(self, logs: Logs, path: str) -> None:
        os.close(self.open_ends.pop(path) if path in self.open_ends else os.open(path, os.O_WRONLY))

    async def lines(self, logs: Logs, wish: LogWish, want: int, *, previous: bool = False) -> list[Printed]:
        for _ in range(500):
            found = [(line.stream, line.partial, line.text) async for line in self._read(wish, previous)]
            if len(found) >= want:
                break
            await asyncio.sleep(0.01)
        return found

    async def _read(self, wish: LogWish, previous: bool) -> AsyncIterator[LogLine]:
        try:
            async for line in read_log(self.server.data_dir, wish.namespace, wish.name, wish.uid, previous=previous):
                yield line
        except NotFound:
            return

    async def test_away(self, logs: Pump) -> None:
        absent = Pump(self.server.base / "nowhere", patience_s=0.05)
        with pytest.raises(Unavailable, match="no log pump answers"):
            await absent.open(WISH)
