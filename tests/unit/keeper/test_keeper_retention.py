"""Which log files stay: pure."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from setpoint.keeper.retention import TAIL_BYTES, Limits, Piece, judge, read_name, room_of_current, rotated_name

MIB = 1 << 20


def piece(launch: int, rotated: int = 0, size: int = MIB) -> Piece:
    stamp = f"20261125T0700{rotated:02d}000000000" if rotated else ""
    return Piece(f"{launch}.log" + (f".{stamp}" if stamp else ""), launch, stamp, size)


def test_names_are_read_as_written() -> None:
    name = rotated_name(7, 1_795_590_000_000_000_042)
    assert name == "7.log.20261125T070000000000042"
    assert read_name(name) == (7, "20261125T070000000000042")
    assert read_name("7.log") == (7, "")
    assert read_name("7.log.new") is None
    assert read_name("tail") is None


def test_the_oldest_goes_first() -> None:
    found = [piece(1, 1), piece(1, 2), piece(1, 3), piece(1)]
    assert judge(found, Limits(MIB, 3)).remove == (found[0],)


def test_the_end_of_the_launch_before_stays() -> None:
    found = [piece(1, 1), piece(1), piece(2, 1), piece(2, 2), piece(2, 3), piece(2)]
    verdict = judge(found, Limits(MIB, 4))
    assert set(verdict.remove) == {found[0], found[2]}
    assert verdict.trim == found[1]
    assert verdict.trim_bytes == TAIL_BYTES


def test_the_launch_before_is_whole_while_there_is_room() -> None:
    verdict = judge([piece(1), piece(2)], Limits(MIB, 2))
    assert verdict.remove == ()
    assert verdict.trim is None


def test_many_short_launches() -> None:
    found = [piece(n, size=100) for n in range(1, 9)]
    assert [gone.launch for gone in judge(found, Limits(MIB, 3)).remove] == [1, 2, 3, 4, 5]


def test_live_launches_are_never_touched() -> None:
    found = [piece(1), piece(2), piece(3)]
    assert judge(found, Limits(MIB, 1), live=[1, 3]).remove == ()


def test_a_single_file_shares_its_place() -> None:
    found = [piece(1), piece(2, size=0)]
    limits = Limits(MIB, 1)
    verdict = judge(found, limits)
    assert verdict.remove == ()
    assert verdict.trim == found[0]
    left = [found[0]._replace(size=verdict.trim_bytes), found[1]]
    assert room_of_current(left, limits) == MIB - TAIL_BYTES


def test_smaller_limits_take_effect_on_what_is_there() -> None:
    found = [piece(1, n) for n in range(1, 5)] + [piece(1)]
    assert len(judge(found, Limits(MIB // 2, 3)).remove) == 3
    assert len(judge(found, Limits(MIB * 2, 2)).remove) == 3


def test_nothing_of_nothing() -> None:
    assert judge([], Limits()).remove == ()


@given(
    st.lists(
        st.tuples(st.integers(1, 4), st.integers(0, 9), st.integers(0, MIB)), min_size=1, max_size=15, unique_by=lambda t: t[:2]
    ),
    st.integers(1, 5),
)
def test_what_stays_is_within_the_limits(rows: list[tuple[int, int, int]], max_files: int) -> None:
    found = sorted((piece(*row) for row in rows), key=lambda p: p.order)
    limits = Limits(MIB, max_files)
    verdict = judge(found, limits)
    left = [p._replace(size=verdict.trim_bytes) if p == verdict.trim else p for p in found if p not in verdict.remove]
    newest = max(p.launch for p in found)
    current = [p for p in left if p.launch == newest and not p.rotated]
    others = [p for p in left if p not in current]
    room = room_of_current([*others, piece(newest, size=0)], limits)
    assert sum(p.size for p in others) + room <= MIB * max_files
    assert len(others) <= max(1, max_files - len(current))
    # The newest of all that was there is never what goes.
    assert found[-1] not in verdict.remove or found[-1].launch != newest or found[-1].rotated
