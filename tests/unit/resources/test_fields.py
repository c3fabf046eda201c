"""Names, paths, durations and times."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from state.resources.fields import format_duration, name_problem, parse_duration
from state.resources.meta import label_value_problem, metadata_problems, qualified_name_problem
from state.resources.node import starts_per_second


@pytest.mark.parametrize("name", ["a", "a1", "1", "a-b", "a" * 63])
def test_labels(name: str) -> None:
    assert name_problem(name) == ""


@pytest.mark.parametrize(
    ("name", "better"),
    [
        ("my_app", "my-app"),
        ("My.App", "my-app"),
        ("-a-", "a"),
        ("a b", "a-b"),
        ("a" * 64, "a" * 63),
        ("a/../b", "a-b"),
        ("ä", ""),
        ("", ""),
        ("---", ""),
        ("a\n", "a"),
        ("١", ""),
    ],
)
def test_labels_refused(name: str, better: str) -> None:
    problem = name_problem(name)
    assert problem
    assert (f'such as "{better}"' in problem) == bool(better)


@pytest.mark.parametrize(
    ("name", "better"), [("a..b", "a.b"), ("A.b", "a.b"), ("a.-b", "a.b"), (".a", "a"), ("a" * 254, "a" * 253), ("a_.b", "a.b")]
)
def test_subdomains_refused(name: str, better: str) -> None:
    assert f'such as "{better}"' in name_problem(name, subdomain=True)


@given(st.text(max_size=80), st.booleans())
def test_what_is_proposed_is_right(name: str, subdomain: bool) -> None:
    problem = name_problem(name, subdomain=subdomain)
    _, proposed, rest = problem.partition('such as "')
    if proposed:
        assert name_problem(rest.removesuffix('"'), subdomain=subdomain) == ""


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("100ms", 0.1),
        ("60s", 60),
        ("1h30m", 5400),
        ("0", 0),
        ("0s", 0),
        ("1.5s", 1.5),
        ("1m1s", 61),
        ("10us", 1e-5),
        ("1h0.5m", 3630),
    ],
)
def test_durations(text: str, seconds: float) -> None:
    assert parse_duration(text) == timedelta(seconds=seconds)


@pytest.mark.parametrize(
    "value", [5, 1.5, "5", "", "s", "5 s", "-5s", "1d", "1s1", "9999999h", True, None, [], "5S", "1e3s", "x" * 65]
)
def test_durations_refused(value: object) -> None:
    with pytest.raises(ValueError, match=r"."):
        parse_duration(value)


@given(st.timedeltas(timedelta(0), timedelta(days=3650)))
def test_durations_round_trip(value: timedelta) -> None:
    assert parse_duration(format_duration(value)) == value


@pytest.mark.parametrize("key", ["a", "a/b", "setpoint.dev/hold", "A_b.c-1", "x" * 63])
def test_qualified_names(key: str) -> None:
    assert qualified_name_problem(key) == ""


@pytest.mark.parametrize("key", ["", "/a", "a/", "a/b/c", "-a", "a b", "x" * 64, "A_/b", "é"])
def test_qualified_names_refused(key: str) -> None:
    assert qualified_name_problem(key)


def test_label_values() -> None:
    assert [label_value_problem(each) == "" for each in ("", "a", "A.b_c-d", "-a", "a b", "x" * 64)] == [True] * 3 + [False] * 3


def test_generate_name_stands_for_a_name() -> None:
    assert list(metadata_problems({"generateName": "web-", "namespace": "a"}, namespaced=True, subdomain=False)) == []
    assert list(metadata_problems({"generateName": "Web-", "namespace": "a"}, namespaced=True, subdomain=False))


def test_rates() -> None:
    assert (starts_per_second("4/s"), starts_per_second("30/m"), starts_per_second("36/h")) == (4, 0.5, 0.01)
    with pytest.raises(ValueError, match="not a rate"):
        starts_per_second("0/s")
