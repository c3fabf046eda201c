"""One real agent for all tests of a module: they use different names."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from setpoint.testing.agent_server import AgentServer, agent


@pytest.fixture(scope="module")
def server() -> Iterator[AgentServer]:
    with agent() as running:
        yield running
