"""Laws of admission over arbitrary JSON: it answers or raises a StateError, and what it stored it takes again unchanged."""

from __future__ import annotations

import contextlib
import time
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from setpoint.testing.hostile import HOSTILE, container
from state.errors import StateError
from state.resources import types
from state.resources.admission import admit, review
from state.resources.documents import read
from state.resources.problems import fields_at

_SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=20)
    | st.sampled_from(["Always", "1Gi", "-1", "64Mi", "a", "/a", "busybox", "100ms", "\0", "\ud800", "SIGTERM", "a=b", "Yg=="])
)
_PLACES = (
    (),
    ("metadata",),
    ("spec",),
    ("spec", "env"),
    ("spec", "volumes"),
    ("spec", "volumes", "secret"),
    ("spec", "volumeMounts"),
    ("spec", "restart"),
    ("spec", "securityContext"),
    ("spec", "resources"),
    ("spec", "resources", "limits"),
)
_FIELDS = {word for kind in types.TYPES for at in _PLACES for word in fields_at(kind.model(), at)}
_WORDS = sorted(_FIELDS | {"environment", "cap_add", "user", "a b", ""})
_JSON = st.recursive(
    _SCALARS,
    lambda below: (
        st.lists(below, max_size=4) | st.dictionaries(st.sampled_from(_WORDS) | st.text(max_size=6), below, max_size=6)
    ),
    max_leaves=25,
)


def _reviewed(obj: Any, strict: bool) -> Any:
    """What would be stored; None when it is refused as it should be. Any other error fails the test."""
    with contextlib.suppress(StateError):
        return review(obj, strict=strict).object
    return None


def _stable(obj: Any, *, strict: bool) -> None:
    stored = _reviewed(obj, strict)
    if stored is None:
        return
    assert admit(stored) == stored
    assert admit(stored, stored) == stored
    types.TYPES[[kind.kind for kind in types.TYPES].index(stored["kind"])].model().model_validate(stored)


@given(_JSON)
def test_any_json(value: Any) -> None:
    _stable(value, strict=True)


@settings(max_examples=150)
@given(st.sampled_from(types.TYPES), st.dictionaries(st.sampled_from(_WORDS), _JSON, max_size=4), st.booleans())
def test_any_fields_at_the_root(kind: types.ResourceType, fields: dict[str, Any], strict: bool) -> None:
    meta = {"name": "a", **({"namespace": "b"} if kind.namespaced else {})}
    _stable({"metadata": meta, **fields, "apiVersion": kind.api_version, "kind": kind.kind}, strict=strict)


@settings(max_examples=250)
@given(st.dictionaries(st.sampled_from(_WORDS), _JSON, max_size=5), st.booleans())
def test_any_fields_of_a_spec(fields: dict[str, Any], strict: bool) -> None:
    _stable(container(**fields), strict=strict)


@settings(max_examples=200)
@given(
    st.sampled_from([case.twin["spec"] for case in HOSTILE if "spec" in case.twin and case.twin["kind"] == "Container"]),
    _JSON,
    st.data(),
)
def test_any_value_anywhere_in_a_good_spec(spec: dict[str, Any], value: Any, data: st.DataObject) -> None:
    def planted(at: Any) -> Any:
        if isinstance(at, dict) and at and data.draw(st.booleans()):
            key = data.draw(st.sampled_from(sorted(at)))
            return {**at, key: planted(at[key])}
        if isinstance(at, list) and at and data.draw(st.booleans()):
            return [planted(at[0]), *at[1:]]
        return value

    _stable({**container(), "spec": planted(spec)}, strict=True)


@given(st.text(max_size=200) | st.binary(max_size=200))
def test_any_text(text: str | bytes) -> None:
    with contextlib.suppress(StateError):
        assert read(text)


@given(st.text(alphabet="{}[]:,-&*!|>'\"#%?<a1 \n\t", max_size=60))
def test_any_punctuation(text: str) -> None:
    with contextlib.suppress(StateError):
        assert read(text)


def test_is_fast() -> None:
    obj = container(
        env=[{"name": f"NAME_{at}", "value": "x" * 20} for at in range(30)],
        volumes=[{"name": "a", "emptyDir": {}}],
        volumeMounts=[{"name": "a", "mountPath": "/a"}],
        command=["sh", "-c", "sleep 1"],
    )
    admit(obj)
    spans = []
    for _ in range(50):
        begun = time.perf_counter()
        admit(obj)
        spans.append(time.perf_counter() - begun)
    assert min(spans) < 0.001
