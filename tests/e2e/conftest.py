"""One real agent for all tests of a module: they use different names."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from setpoint.testing.agent_server import AgentServer, agent
from setpoint.testing.containerd_server import RELEASES

BY_NAME = {release.name: release for release in RELEASES}


@pytest.fixture(scope="module")
def server(request: pytest.FixtureRequest) -> Iterator[AgentServer]:
    """An agent with a private containerd: Debian's, or the release that the module asks for by indirect parameters."""
    release = BY_NAME[getattr(request, "param", RELEASES[0].name)]
    if release.missing:
        pytest.skip(release.missing)
    with agent(containerd_program=release.binary, path=str(release.folder or "")) as running:
        yield running
