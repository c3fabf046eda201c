"""Names of images: ``busybox``, ``ghcr.io/a/b:1.2``, ``repo@sha256:...``.

Source: the grammar of github.com/distribution/reference; short names mean ``docker.io/library/...`` and no tag means
``latest``, as with Docker.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

_COMPONENT = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_PATH = re.compile(rf"{_COMPONENT}(?:/{_COMPONENT})*", re.ASCII)
_LABEL = r"(?:[a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9-]*[a-zA-Z0-9])"
_DOMAIN = re.compile(rf"(?:{_LABEL}(?:\.{_LABEL})*|\[[0-9a-fA-F:]+\])(?::[0-9]{{1,5}})?", re.ASCII)
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}", re.ASCII)
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}|sha512:[0-9a-f]{128}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Reference:
    """A normalised reference. Neither ``tag`` nor ``digest`` is ever both empty."""

    domain: str
    path: str
    tag: str = ""
    digest: str = ""

    @property
    def repository(self) -> str:
        return f"{self.domain}/{self.path}"

    def __str__(self) -> str:
        return self.repository + (f":{self.tag}" if self.tag else "") + (f"@{self.digest}" if self.digest else "")


def parse(text: str) -> Reference:
    """The normalised reference. Raises ValueError that says what is wrong with which part."""
    if "://" in text:
        raise ValueError("an image has no scheme: leave out " + text.split("://", 1)[0] + "://")
    rest, at, digest = text.partition("@")
    if at and not _DIGEST.fullmatch(digest):
        raise ValueError("after @ must come a digest such as sha256: and 64 hexadecimal digits")
    name, colon, tag = rest.rpartition(":")
    if not colon or "/" in tag:
        name, colon, tag = rest, "", ""
    if colon and not _TAG.fullmatch(tag):
        raise ValueError(f'the tag "{tag[:40]}" must be 1 to 128 letters, digits, "_", "." or "-"')
    domain, slash, path = name.partition("/")
    if not slash or not ("." in domain or ":" in domain or domain == "localhost" or domain != domain.lower()):
        domain, path = "docker.io", name
    if domain == "index.docker.io":
        domain = "docker.io"
    if domain == "docker.io" and path and "/" not in path:
        path = f"library/{path}"
    if not _DOMAIN.fullmatch(domain):
        raise ValueError(f'"{domain[:40]}" is not a registry name')
    if len(path) > 255 or not _PATH.fullmatch(path):
        raise ValueError("must be NAME, NAME:TAG or NAME@DIGEST, the name in lower case")
    return Reference(domain, path, tag or ("" if digest else "latest"), digest)


def normalise(text: str) -> str:
    """``busybox`` -> ``docker.io/library/busybox:latest``. Raises ValueError."""
    return str(parse(text))
