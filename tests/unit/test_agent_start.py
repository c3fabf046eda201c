"""What the agent refuses before it touches anything."""

from __future__ import annotations

import pytest

from setpoint.agent import refuse_unfit
from setpoint.drivers.doctor import Check
from state.errors import Denied


def check(name: str, ok: bool, severity: str = "error") -> Check:
    return {"name": name, "ok": ok, "found": "nothing", "need": "it", "severity": severity}  # type: ignore[typeddict-item]


def test_a_fit_host_is_taken() -> None:
    refuse_unfit([check("root", True), check("disk", False, "warning"), check("AppArmor", False, "info")])


def test_an_unfit_one_is_refused_with_all_that_it_lacks() -> None:
    with pytest.raises(Denied) as refused:
        refuse_unfit([check("root", False), check("overlayfs", False), check("Linux", True)])
    assert [cause.field for cause in refused.value.causes] == ["root", "overlayfs"]
    assert "found nothing; needs it" in refused.value.message


def test_programs_may_arrive_later() -> None:
    refuse_unfit([check("OCI runtime", False), check("containerd", False)])
