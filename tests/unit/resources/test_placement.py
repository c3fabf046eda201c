"""In the standalone home a Container belongs to the one node there is."""

from __future__ import annotations

import pytest

from setpoint.testing.agent_server import container
from state.errors import Invalid
from state.resources.placement import admit_on

here = admit_on("here")


def test_it_is_set_where_it_is_not_told() -> None:
    assert here(container("a"))["spec"]["nodeName"] == "here"
    assert here(container("a", nodeName="here"))["spec"]["nodeName"] == "here"


def test_another_node_is_refused_by_name() -> None:
    with pytest.raises(Invalid, match='there is one node here, "here"') as caught:
        here(container("a", nodeName="elsewhere"))
    assert [cause.field for cause in caught.value.causes] == ["spec.nodeName"]


def test_a_former_name_of_this_node_is_kept() -> None:
    old = here(container("a"))
    assert admit_on("renamed")(container("a", tty=True), old)["spec"]["nodeName"] == "here"
    with pytest.raises(Invalid):
        admit_on("renamed")(container("a", nodeName="renamed"), old)


def test_other_kinds_and_what_cannot_be_read_are_left_to_admission() -> None:
    assert "spec" not in here({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a", "namespace": "default"}})
    with pytest.raises(Invalid):
        here({**container("a"), "spec": []})
