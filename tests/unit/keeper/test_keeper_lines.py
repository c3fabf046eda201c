"""The CRI line format, written and read back."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from setpoint.drivers.logs import parse
from setpoint.keeper.lines import CHUNK_BYTES, MAX_LINE_BYTES, Lines, marker, stamp

NOW = 1_795_590_000_123_456_789
WHEN = b"2026-11-25T07:00:00.123456789Z"


def test_stamp_has_nine_digits_and_utc() -> None:
    assert stamp(NOW) == WHEN
    assert stamp(NOW // 1_000_000_000 * 1_000_000_000) == b"2026-11-25T07:00:00.000000000Z"


def test_whole_lines() -> None:
    lines = Lines("stdout")
    assert lines.feed(b"one\n\ntwo\n", NOW) == b"%b stdout F one\n%b stdout F \n%b stdout F two\n" % (WHEN, WHEN, WHEN)
    assert lines.tail == b""


def test_an_unfinished_line_waits_for_its_end() -> None:
    lines = Lines("stderr")
    assert lines.feed(b"ha", NOW) == b""
    assert lines.room == CHUNK_BYTES - 2
    assert lines.feed(b"lf\nre", NOW) == WHEN + b" stderr F half\n"
    assert lines.finish(NOW) == WHEN + b" stderr P re\n"
    assert lines.finish(NOW) == b""


def test_long_lines_are_split() -> None:
    text = b"x" * (2 * MAX_LINE_BYTES + 5)
    rows = [parse(row) for row in Lines("stdout").feed(b"a\n" + text + b"\nb\n", NOW).splitlines()]
    assert [(row.partial, len(row.text)) for row in rows if row] == [
        (False, 1),
        (True, MAX_LINE_BYTES),
        (True, MAX_LINE_BYTES),
        (False, 5),
        (False, 1),
    ]


def test_a_line_without_end_is_not_kept_in_memory() -> None:
    lines = Lines("stdout")
    lines.feed(b"x" * (3 * MAX_LINE_BYTES + 7), NOW)
    assert len(lines.tail) == 7


def test_a_line_of_just_the_limit_is_whole() -> None:
    for before in (b"", b"short\n"):
        block = Lines("stdout").feed(before + b"x" * MAX_LINE_BYTES + b"\n", NOW)
        assert b" P " not in block


def test_marker_is_a_line() -> None:
    line = parse(marker("stdout", "[setpoint: mind the gap]", NOW)[:-1])
    assert line is not None
    assert (line.stream, line.partial, line.text) == ("stdout", False, b"[setpoint: mind the gap]")


@given(st.lists(st.binary(max_size=40).map(lambda text: text.replace(b"\0", b"\n")), max_size=20), st.booleans())
def test_what_goes_in_comes_out(chunks: list[bytes], long: bool) -> None:
    """However the stream is cut into chunks: the pieces put together again are the stream."""
    if long:
        chunks = [chunk * 3000 for chunk in chunks]
    lines, block = Lines("stdout"), b""
    for chunk in chunks:
        block += lines.feed(chunk, NOW)
        assert len(lines.tail) <= MAX_LINE_BYTES
    block += lines.finish(NOW)
    rows = [parse(row) for row in block.split(b"\n")[:-1]]
    assert all(row is not None and len(row.text) <= MAX_LINE_BYTES for row in rows)
    assert b"".join(row.render() for row in rows if row) == b"".join(chunks)


@given(st.binary(max_size=80))
def test_foreign_lines_are_not_parsed_as_ours(raw: bytes) -> None:
    line = parse(raw)
    assert line is None or raw.startswith(line.time.encode())
