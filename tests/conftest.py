"""Every test tells its marks to the report, so that what ran on the real kernel can be counted."""

from __future__ import annotations

import pytest

REAL = ("containerd", "kernel", "vm")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        for name in REAL:
            if item.get_closest_marker(name):
                item.user_properties.append((name, "mark"))
