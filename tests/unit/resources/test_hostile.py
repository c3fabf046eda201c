"""Every hostile declaration gets its own error; its twin, one edit away, is accepted."""

from __future__ import annotations

import copy

import pytest

from setpoint.testing.hostile import HOSTILE, TEXTS, Hostile, HostileText
from state.errors import StateError
from state.resources.admission import admit
from state.resources.documents import read


@pytest.mark.parametrize("case", HOSTILE, ids=lambda case: case.name)
def test_refused_by_name(case: Hostile) -> None:
    before = copy.deepcopy(case.object)
    with pytest.raises(StateError) as caught:
        admit(case.object)
    assert caught.value.reason == case.reason, caught.value
    told = [each for each in caught.value.causes if each.field.startswith(case.field)]
    assert any(case.fragment in each.message for each in told), caught.value.causes
    assert repr(case.object) == repr(before)  # repr, for NaN differs from itself


@pytest.mark.parametrize("case", HOSTILE, ids=lambda case: case.name)
def test_only_that_is_told(case: Hostile) -> None:
    with pytest.raises(StateError) as caught:
        admit(case.object)
    assert len(caught.value.causes) == 1, caught.value.causes


@pytest.mark.parametrize("case", HOSTILE, ids=lambda case: case.name)
def test_twin_is_accepted(case: Hostile) -> None:
    once = admit(case.twin)
    assert admit(once) == once


@pytest.mark.parametrize("case", TEXTS, ids=lambda case: case.name)
def test_text_refused_with_its_line(case: HostileText) -> None:
    with pytest.raises(StateError, match=r"file\.yaml") as caught:
        read(case.text, "file.yaml")
    assert case.fragment in caught.value.message
    assert read(case.twin, "file.yaml")


def test_enough_of_them() -> None:
    assert len(HOSTILE) >= 40
    assert len({case.name for case in HOSTILE}) == len(HOSTILE)
