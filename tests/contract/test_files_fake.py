"""FakeFiles keeps the contract of NodeFiles."""

from __future__ import annotations

import pytest

from setpoint.testing.fake_node import FakeFiles, Found
from setpoint.testing.node_contract import FilesContract


class SeenFake(FakeFiles):
    """The fake, and a host whose paths the contract may make up."""

    def put_on_host(self, found: Found) -> str:
        path = f"/host/{found or 'nothing'}"
        if found:
            self.host[path] = found
        return path

    def hang(self) -> str:
        self.hung.add("/dead")
        return "/dead"


class TestFakeFiles(FilesContract):
    @pytest.fixture
    def files(self) -> SeenFake:
        return SeenFake()

    @pytest.fixture
    def seen(self, files: SeenFake) -> SeenFake:
        return files
