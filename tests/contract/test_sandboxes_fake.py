"""FakeSandboxes keeps the contract of Sandboxes."""

from __future__ import annotations

import pytest

from controllers.container.ports import Sandboxes
from setpoint.testing.fake_node import FakeSandboxes
from setpoint.testing.node_contract import SandboxesContract


class TestFakeSandboxes(SandboxesContract):
    @pytest.fixture
    def sandboxes(self) -> FakeSandboxes:
        return FakeSandboxes()

    def identity(self, sandboxes: Sandboxes, uid: str) -> int:
        assert isinstance(sandboxes, FakeSandboxes)
        return sandboxes.identity(uid)

    def spoil(self, sandboxes: Sandboxes, uid: str) -> None:
        assert isinstance(sandboxes, FakeSandboxes)
        sandboxes.lose(uid)
