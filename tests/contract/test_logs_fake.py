"""FakeLogs keeps the contract of Logs."""

from __future__ import annotations

import pytest

from controllers.container.ports import Logs, LogWish
from setpoint.testing.fake_logs import FakeLogs, Printed
from setpoint.testing.logs_contract import WISH, LogsContract
from state.errors import Unavailable


class TestFakeLogs(LogsContract):
    @pytest.fixture
    def logs(self) -> FakeLogs:
        return FakeLogs()

    async def write(self, logs: Logs, path: str, data: bytes) -> None:
        assert isinstance(logs, FakeLogs)
        logs.write(path, data)

    async def finish(self, logs: Logs, path: str) -> None:
        assert isinstance(logs, FakeLogs)
        logs.finish(path)

    async def lines(self, logs: Logs, wish: LogWish, want: int, *, previous: bool = False) -> list[Printed]:
        assert isinstance(logs, FakeLogs)
        return logs.lines(wish.uid, previous=previous)

    async def test_away(self, logs: FakeLogs) -> None:
        logs.away = True
        with pytest.raises(Unavailable):
            await logs.open(WISH)
