"""Who we are to a registry: credentials chosen by host, and its challenges answered.

Sources: RFC 7235, RFC 7617, https://distribution.github.io/distribution/spec/auth/token/ and .../oauth/. Pure.
"""

from __future__ import annotations

import base64
import binascii
import itertools
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from state.objects import Object
from state.references import DEFAULT_DOMAIN

# The key that ``docker login`` writes for Docker Hub.
_HUB_KEYS = ("https://index.docker.io/v1/", "index.docker.io", "docker.io", "registry-1.docker.io")

_QUOTED = re.compile(r'"(?:[^"\\]|\\.)*"')
_PARAMETER = re.compile(r'([a-zA-Z][\w-]*)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s,]+))')


@dataclass(frozen=True, slots=True)
class Credentials:
    """Either a name with a password, or an identity token. Never printed."""

    username: str = ""
    password: str = ""
    identity_token: str = ""

    def __repr__(self) -> str:
        return f"Credentials({self.username!r}, ...)"

    @property
    def basic(self) -> str:
        """The value of an Authorization header (RFC 7617)."""
        pair = f"{self.username}:{self.password}".encode()
        return f"Basic {base64.b64encode(pair).decode()}"


@dataclass(frozen=True, slots=True)
class Challenge:
    """``WWW-Authenticate`` of a 401. ``scheme`` is lower case: ``bearer`` or ``basic``."""

    scheme: str
    parameters: Mapping[str, str]


def parse_challenge(header: str) -> Challenge | None:
    """The first challenge that we can answer, bearer before basic; None when there is none."""
    found: dict[str, Challenge] = {}
    # Several challenges may share one header: each begins with a scheme and a blank, its parameters hold '='.
    bare = _QUOTED.sub(lambda match: "." * len(match.group()), header)
    starts = [match.start() for match in re.finditer(r"(?i)\b(?:bearer|basic)(?=\s|$)", bare)]
    for start, end in itertools.pairwise([*starts, len(header)]):
        scheme, _, rest = header[start:end].partition(" ")
        parameters = {key.lower(): re.sub(r"\\(.)", r"\1", quoted) or bare for key, quoted, bare in _PARAMETER.findall(rest)}
        found.setdefault(scheme.strip().lower(), Challenge(scheme.strip().lower(), parameters))
    return found.get("bearer") or found.get("basic")


def choose(domain: str, given: Sequence[Object]) -> Credentials | None:
    """The credentials of ``given`` for a registry. Each is ``{"username", "password"[, "registry"]}`` or the document of a
    ``kubernetes.io/dockerconfigjson`` Secret (``{"auths": {host: {auth | username, password | identitytoken}}}``)."""
    for entry in given:
        auths = entry.get("auths")
        if isinstance(auths, Mapping):
            for key, auth in auths.items():
                if isinstance(auth, Mapping) and _matches(str(key), domain) and (found := _from_auth(auth)):
                    return found
        elif (not entry.get("registry") or _matches(str(entry["registry"]), domain)) and (found := _from_auth(entry)):
            return found
    return None


def _matches(key: str, domain: str) -> bool:
    if domain == DEFAULT_DOMAIN:
        return key in _HUB_KEYS
    host = re.sub(r"^https?://", "", key).partition("/")[0]
    return host == domain


def _from_auth(auth: Mapping[str, object]) -> Credentials | None:
    token = auth.get("identitytoken")
    username, password = auth.get("username"), auth.get("password")
    packed = auth.get("auth")
    if isinstance(packed, str) and packed and not username:
        try:
            username, _, password = base64.b64decode(packed, validate=True).decode().partition(":")
        except (binascii.Error, ValueError):
            return None
    if not username and not token:
        return None
    return Credentials(str(username or ""), str(password or ""), str(token or ""))
