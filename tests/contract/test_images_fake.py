"""FakeImages keeps the contract of Images."""

from __future__ import annotations

import pytest

from controllers.container.ports import Images
from setpoint.testing.fake_node import FakeImages
from setpoint.testing.images import GROUP, PASSWD
from setpoint.testing.node_contract import ImagesContract

NAMES = ("docker.io/library/here:1", "docker.io/team/there:1", "docker.io/team/nowhere:1")
CONFIG = {"config": {"Cmd": ["sh"]}, "rootfs": {"type": "layers", "diff_ids": []}}


class TestFakeImages(ImagesContract):
    @pytest.fixture
    def names(self) -> tuple[str, str, str]:
        return NAMES

    @pytest.fixture
    def images(self) -> FakeImages:
        fake = FakeImages()
        fake.add(NAMES[0], CONFIG, passwd=PASSWD, group=GROUP)
        fake.offer(NAMES[1], CONFIG)
        return fake

    async def settled(self, images: Images, reference: str) -> None:
        pass
