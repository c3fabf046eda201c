"""What Logs promises, as tests: the fake and the real pump run the same class, in equal numbers."""

from __future__ import annotations

from dataclasses import replace

import pytest

from controllers.container.ports import Logs, LogWish, Stdio
from setpoint.testing.fake_logs import Printed
from state.errors import Invalid

UID = "6b0f7e55-1f0a-4c5e-9d5e-0123456789ab"
OTHER = "0e4f7e55-1f0a-4c5e-9d5e-0123456789ab"
WISH = LogWish(uid=UID, id="6b0f7e551f0a4c5e9d5e0123456789ab-1", namespace="default", name="web")


class LogsContract:
    """Fixtures: ``logs``. Hooks: ``write``, ``finish``, ``lines``."""

    async def write(self, logs: Logs, path: str, data: bytes) -> None:
        """As a container's shim would: holds the stream open afterwards."""
        raise NotImplementedError

    async def finish(self, logs: Logs, path: str) -> None:
        """The shim lets go of the stream."""
        raise NotImplementedError

    async def lines(self, logs: Logs, wish: LogWish, want: int, *, previous: bool = False) -> list[Printed]:
        """What the log holds; waits until it is ``want`` lines."""
        raise NotImplementedError

    async def print_and_end(self, logs: Logs, stdio: Stdio, data: bytes) -> None:
        await self.write(logs, stdio.stdout, data)
        for path in filter(None, (stdio.stdout, stdio.stderr)):
            await self.finish(logs, path)

    async def test_nothing_at_first(self, logs: Logs) -> None:
        assert list(await logs.list()) == []

    async def test_open_gives_two_streams_and_no_stdin(self, logs: Logs) -> None:
        stdio = await logs.open(WISH)
        assert stdio.stdout
        assert stdio.stderr
        assert stdio.stdout != stdio.stderr
        assert not stdio.stdin
        assert not stdio.terminal
        assert list(await logs.list()) == [UID]

    async def test_a_terminal_is_one_stream(self, logs: Logs) -> None:
        stdio = await logs.open(replace(WISH, terminal=True, stdin=True))
        assert stdio.stdout
        assert stdio.stdin
        assert not stdio.stderr
        assert stdio.terminal

    async def test_lines_arrive_with_their_stream(self, logs: Logs) -> None:
        stdio = await logs.open(WISH)
        await self.write(logs, stdio.stdout, b"one\ntwo\n")
        assert await self.lines(logs, WISH, 2) == [("stdout", False, b"one"), ("stdout", False, b"two")]
        await self.write(logs, stdio.stderr, b"oops\n")
        assert (await self.lines(logs, WISH, 3))[2] == ("stderr", False, b"oops")

    async def test_a_line_may_come_in_pieces(self, logs: Logs) -> None:
        stdio = await logs.open(WISH)
        await self.write(logs, stdio.stdout, b"hal")
        await self.write(logs, stdio.stdout, b"ves\n\n")
        assert await self.lines(logs, WISH, 2) == [("stdout", False, b"halves"), ("stdout", False, b"")]

    async def test_what_has_no_newline_is_told_at_the_end(self, logs: Logs) -> None:
        stdio = await logs.open(WISH)
        await self.print_and_end(logs, stdio, b"whole\nnot whole")
        assert await self.lines(logs, WISH, 2) == [("stdout", False, b"whole"), ("stdout", True, b"not whole")]

    async def test_each_start_has_streams_of_its_own(self, logs: Logs) -> None:
        first = await logs.open(WISH)
        await self.print_and_end(logs, first, b"first\n")
        second = await logs.open(WISH)
        assert second.stdout != first.stdout
        await self.write(logs, second.stdout, b"second\n")
        assert await self.lines(logs, WISH, 1) == [("stdout", False, b"second")]
        assert await self.lines(logs, WISH, 1, previous=True) == [("stdout", False, b"first")]

    async def test_two_revisions_at_once(self, logs: Logs) -> None:
        old = await logs.open(WISH)
        await self.write(logs, old.stdout, b"old\n")
        assert await self.lines(logs, WISH, 1)
        successor = replace(WISH, id=WISH.id[:-1] + "2")
        new = await logs.open(successor)
        await self.write(logs, new.stdout, b"new\n")
        await self.write(logs, old.stdout, b"still old\n")
        assert await self.lines(logs, successor, 1) == [("stdout", False, b"new")]
        assert await self.lines(logs, successor, 2, previous=True) == [
            ("stdout", False, b"old"),
            ("stdout", False, b"still old"),
        ]

    async def test_list_is_sorted_and_by_uid(self, logs: Logs) -> None:
        await logs.open(WISH)
        await logs.open(replace(WISH, uid=OTHER, name="db"))
        await logs.open(WISH)
        assert list(await logs.list()) == sorted([UID, OTHER])

    async def test_ended_streams_still_have_files(self, logs: Logs) -> None:
        await self.print_and_end(logs, await logs.open(WISH), b"x\n")
        await self.lines(logs, WISH, 1)
        assert list(await logs.list()) == [UID]

    async def test_close_keeps_the_end_if_asked(self, logs: Logs) -> None:
        stdio = await logs.open(WISH)
        await self.write(logs, stdio.stdout, b"famous\nlast words\n")
        await logs.close(UID, keep_tail=True)
        assert list(await logs.list()) == []
        assert await self.lines(logs, WISH, 2) == [("stdout", False, b"famous"), ("stdout", False, b"last words")]

    async def test_close_leaves_nothing_otherwise(self, logs: Logs) -> None:
        stdio = await logs.open(WISH)
        await self.write(logs, stdio.stdout, b"nobody cares\n")
        await logs.close(UID, keep_tail=False)
        assert list(await logs.list()) == []
        assert await self.lines(logs, WISH, 0) == []

    async def test_close_twice_and_of_nothing(self, logs: Logs) -> None:
        stdio = await logs.open(WISH)
        await self.write(logs, stdio.stdout, b"here\n")
        for _ in range(2):
            await logs.close(UID, keep_tail=True)
        await logs.close(OTHER, keep_tail=False)
        assert await self.lines(logs, WISH, 1) == [("stdout", False, b"here")]

    async def test_close_touches_only_its_own(self, logs: Logs) -> None:
        await logs.open(WISH)
        other = replace(WISH, uid=OTHER, name="db")
        stdio = await logs.open(other)
        await logs.close(UID, keep_tail=False)
        await self.write(logs, stdio.stdout, b"alive\n")
        assert await self.lines(logs, other, 1) == [("stdout", False, b"alive")]

    async def test_tune_of_open_and_of_unknown(self, logs: Logs) -> None:
        stdio = await logs.open(WISH)
        await logs.tune(replace(WISH, max_size_bytes=8192, max_files=2))
        await logs.tune(replace(WISH, uid=OTHER))
        await self.write(logs, stdio.stdout, b"on\n")
        assert await self.lines(logs, WISH, 1) == [("stdout", False, b"on")]
        assert list(await logs.list()) == [UID]

    @pytest.mark.parametrize("what", ["uid", "id", "namespace", "name"])
    @pytest.mark.parametrize("value", ["", "..", "a/b", "a_b", "a\0b"])
    async def test_names_that_are_no_file_names_are_refused(self, logs: Logs, what: str, value: str) -> None:
        with pytest.raises(Invalid, match=what):
            await logs.open(replace(WISH, **{what: value}))  # type: ignore[arg-type]
        assert list(await logs.list()) == []

    @pytest.mark.parametrize("limits", [{"max_size_bytes": 100}, {"max_files": 0}])
    async def test_limits_that_limit_nothing_are_refused(self, logs: Logs, limits: dict[str, int]) -> None:
        with pytest.raises(Invalid, match="at least"):
            await logs.open(replace(WISH, **limits))  # type: ignore[arg-type]
