"""Drawn lives of containers under drawn faults: whatever happens, what is declared comes about and nothing is lost.

``SETPOINT_STORM_SEEDS`` (default 300) says how many; a campaign sets more. A failure names the line for ``sweeping.replay``.
"""

from __future__ import annotations

import os

import pytest

from setpoint.testing.container_life import lives
from setpoint.testing.simloop import Mode

SEEDS = int(os.environ.get("SETPOINT_STORM_SEEDS", "300"))


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("share", range(4))
def test_lives_in_a_storm_come_out_as_declared(share: int) -> None:
    report = lives(range(share, SEEDS, 4))
    assert not report.failures, report


@pytest.mark.timeout(3600)
def test_lives_in_a_hard_storm() -> None:
    report = lives(range(10_000, 10_000 + SEEDS // 6), rate=0.15)
    assert not report.failures, report


@pytest.mark.timeout(3600)
def test_any_order_of_callbacks_will_do() -> None:
    report = lives(range(20_000, 20_000 + SEEDS // 6), mode=Mode.HOSTILE)
    assert not report.failures, report


def test_undisturbed_lives_come_out_as_declared() -> None:
    report = lives(range(30_000, 30_010), rate=0.0)
    assert not report.failures, report
