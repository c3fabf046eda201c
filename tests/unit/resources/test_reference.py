"""Image names are Docker's."""

from __future__ import annotations

import pytest

from state.resources.reference import normalise, parse

_HEX = "0123456789abcdef" * 4


@pytest.mark.parametrize(
    ("text", "full"),
    [
        ("busybox", "docker.io/library/busybox:latest"),
        ("busybox:1.36", "docker.io/library/busybox:1.36"),
        ("library/busybox", "docker.io/library/busybox:latest"),
        ("docker.io/busybox", "docker.io/library/busybox:latest"),
        ("index.docker.io/busybox", "docker.io/library/busybox:latest"),
        ("me/app", "docker.io/me/app:latest"),
        ("ghcr.io/a/b:1", "ghcr.io/a/b:1"),
        ("localhost/a", "localhost/a:latest"),
        ("localhost:5000/a", "localhost:5000/a:latest"),
        ("127.0.0.1:5000/a/b:x", "127.0.0.1:5000/a/b:x"),
        ("[::1]:5000/a", "[::1]:5000/a:latest"),
        (f"a@sha256:{_HEX}", f"docker.io/library/a@sha256:{_HEX}"),
        (f"a:1@sha256:{_HEX}", f"docker.io/library/a:1@sha256:{_HEX}"),
        ("a__b/c-d.e", "docker.io/a__b/c-d.e:latest"),
    ],
)
def test_normalises(text: str, full: str) -> None:
    assert normalise(text) == full
    assert normalise(full) == full


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "A",
        "a b",
        "a:",
        "a::b",
        "/a",
        "a/",
        "a//b",
        "https://a/b",
        "a@b",
        f"a@sha256:{_HEX}0",
        "a:" + "x" * 129,
        "-a",
        "a_",
        "a" * 256,
        "http://",
        "a:b:c",
        "a\n",
        "é",
        "a@sha256:" + "G" * 64,
        "host_name.x/a",
    ],
)
def test_refuses(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        parse(text)
