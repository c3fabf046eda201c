"""Quantities are core/v1's, exactly."""

from __future__ import annotations

import contextlib
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from state.resources.quantity import Quantity


@pytest.mark.parametrize(
    ("text", "value", "millis"),
    [
        ("0", 0, 0),
        ("1", 1, 1000),
        ("64Mi", 64 << 20, (64 << 20) * 1000),
        ("1Gi", 1 << 30, (1 << 30) * 1000),
        ("1.5Gi", 3 << 29, (3 << 29) * 1000),
        ("1G", 10**9, 10**12),
        ("1k", 1000, 10**6),
        ("250m", 1, 250),
        ("0.5", 1, 500),
        (".5", 1, 500),
        ("5.", 5, 5000),
        ("+2", 2, 2000),
        ("-1", -1, -1000),
        ("1e3", 1000, 10**6),
        ("1E3", 1000, 10**6),
        ("1E", 10**18, 10**21),
        ("12e-1", 2, 1200),
        ("100u", 1, 1),
        ("1n", 1, 1),
        (2, 2, 2000),
        (0.1, 1, 100),
        (1e-05, 1, 1),
    ],
)
def test_reads(text: object, value: int, millis: int) -> None:
    quantity = Quantity.parse(text)
    assert (quantity.value, quantity.millis) == (value, millis)


def test_finer_than_a_nano_rounds_up() -> None:
    assert Quantity.parse("0.1n").nanos == 1


def test_largest() -> None:
    assert Quantity.parse(str(2**63 - 1)).value == 2**63 - 1
    with pytest.raises(ValueError, match="larger than"):
        Quantity.parse(str(2**63))


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("", "number"),
        ("Mi", "number"),
        ("64MB", '"64Mi"'),
        ("64mb", '"64Mi"'),
        ("1 Gi", '"1Gi"'),
        ("1g", '"1Gi"'),
        ("512mi", '"512Mi"'),
        ("1.2.3", "number"),
        ("--1", "number"),
        ("1e", "number"),
        ("1e9999", "number"),
        ("1" * 65, "number"),
        ("٣", "number"),
        ("1\n", "number"),
        ("0x10", "number"),
        ("1Ki5", "number"),
        (True, "number"),
        (None, "number"),
        ([], "number"),
        (float("inf"), "number"),
        (float("nan"), "number"),
    ],
)
def test_refuses(text: object, hint: str) -> None:
    with pytest.raises(ValueError, match=hint):
        Quantity.parse(text)


@given(st.integers(0, 2**40), st.sampled_from(["", "k", "Ki", "M", "Mi", "m", "u", "n"]))
def test_is_exact(number: int, suffix: str) -> None:
    scale = {"": Fraction(1), "k": Fraction(1000), "Ki": Fraction(1024), "M": Fraction(10**6), "Mi": Fraction(1 << 20)}
    scale |= {"m": Fraction(1, 1000), "u": Fraction(1, 10**6), "n": Fraction(1, 10**9)}
    exact = number * scale[suffix]
    if exact <= 2**63 - 1:
        assert Quantity.parse(f"{number}{suffix}").nanos == exact * 10**9


@given(st.text(alphabet="0123456789.eE+-munkKMGTPi ", max_size=12))
def test_never_surprises(text: str) -> None:
    with contextlib.suppress(ValueError):
        assert isinstance(Quantity.parse(text).nanos, int)
