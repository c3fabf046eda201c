"""Challenges and credentials."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from setpoint.drivers.images.credentials import Credentials, choose, parse_challenge

AUTH = base64.b64encode(b"me:pass:word").decode()


@pytest.mark.parametrize(
    ("header", "scheme", "parameters"),
    [
        (
            'Bearer realm="https://a/token",service="s",scope="x,y"',
            "bearer",
            {"realm": "https://a/token", "service": "s", "scope": "x,y"},
        ),
        ("bearer realm=https://a/token", "bearer", {"realm": "https://a/token"}),
        ('Basic realm="x \\"quoted\\""', "basic", {"realm": 'x "quoted"'}),
        ('Basic realm="x", Bearer realm="https://a"', "bearer", {"realm": "https://a"}),
        ("Basic", "basic", {}),
        ('Bearer realm="a basic thing"', "bearer", {"realm": "a basic thing"}),
    ],
)
def test_challenges(header: str, scheme: str, parameters: dict[str, str]) -> None:
    found = parse_challenge(header)
    assert found is not None
    assert (found.scheme, found.parameters) == (scheme, parameters)


@pytest.mark.parametrize("header", ["", "Negotiate abc", "Digest realm=x", "basically", '"'])
def test_challenges_of_others(header: str) -> None:
    assert parse_challenge(header) is None


@pytest.mark.parametrize(
    ("domain", "given", "expected"),
    [
        ("q.io", {"username": "a", "password": "b"}, ("a", "b", "")),
        ("q.io", {"username": "a", "password": "b", "registry": "q.io"}, ("a", "b", "")),
        ("q.io", {"username": "a", "password": "b", "registry": "other"}, None),
        ("q.io", {"auths": {"q.io": {"auth": AUTH}}}, ("me", "pass:word", "")),
        ("q.io", {"auths": {"https://q.io/v2/": {"username": "a", "password": "b"}}}, ("a", "b", "")),
        ("q.io", {"auths": {"q.io.evil": {"auth": AUTH}}}, None),
        ("q.io:5000", {"auths": {"q.io": {"auth": AUTH}}}, None),
        ("docker.io", {"auths": {"https://index.docker.io/v1/": {"auth": AUTH}}}, ("me", "pass:word", "")),
        ("docker.io", {"auths": {"q.io": {"auth": AUTH}}}, None),
        ("q.io", {"auths": {"q.io": {"identitytoken": "t"}}}, ("", "", "t")),
        ("q.io", {"auths": {"q.io": {"auth": "%%%"}}}, None),
        ("q.io", {"auths": {"q.io": {"auth": base64.b64encode(b"\xff\xfe").decode()}}}, None),
        ("q.io", {"auths": {"q.io": None}}, None),
        ("q.io", {"auths": []}, None),
        ("q.io", {}, None),
    ],
)
def test_choice(domain: str, given: dict[str, Any], expected: tuple[str, str, str] | None) -> None:
    assert choose(domain, [given]) == (Credentials(*expected) if expected else None)
    assert choose(domain, [{}, given, {"username": "last"}]) == (Credentials(*expected) if expected else Credentials("last"))


def test_they_are_never_printed() -> None:
    assert "secret" not in repr(Credentials("me", "secret", "secret"))


def test_basic() -> None:
    assert Credentials("Aladdin", "open sesame").basic == "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ=="
