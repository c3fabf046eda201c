"""Names of images, as people type them and as registries want them. Pure.

Grammar: https://github.com/distribution/reference (``[domain/]path[:tag][@digest]``). Short names mean Docker Hub:
``busybox`` is ``docker.io/library/busybox:latest``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from state.errors import Invalid

DEFAULT_DOMAIN = "docker.io"
DEFAULT_TAG = "latest"
_LEGACY_DOMAIN = "index.docker.io"
_OFFICIAL = "library/"
_MAX_REPOSITORY = 255

_COMPONENT = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_LABEL = r"(?:[a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9-]*[a-zA-Z0-9])"
_DOMAIN = rf"(?:{_LABEL}(?:\.{_LABEL})*|\[[0-9a-fA-F:]+\])(?::[0-9]+)?"

_path = re.compile(rf"{_COMPONENT}(?:/{_COMPONENT})*", re.ASCII)
_domain = re.compile(_DOMAIN, re.ASCII)
_tag = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}", re.ASCII)
_digest = re.compile(r"(?:sha256:[0-9a-f]{64}|sha384:[0-9a-f]{96}|sha512:[0-9a-f]{128})", re.ASCII)
_bare_digest = re.compile(r"[0-9a-f]{64}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Reference:
    """A complete name. At least one of ``tag`` and ``digest`` is set; with both, the digest decides and the tag is a note."""

    domain: str
    path: str
    tag: str = ""
    digest: str = ""

    @property
    def repository(self) -> str:
        """``docker.io/library/busybox``: everything but tag and digest."""
        return f"{self.domain}/{self.path}"

    @property
    def familiar(self) -> str:
        """The shortest way to type it: ``busybox:latest``."""
        short = self.repository
        if self.domain == DEFAULT_DOMAIN:
            short = self.path
            rest = short.removeprefix(_OFFICIAL)
            if "/" not in rest:
                short = rest
        return short + self._suffix()

    def with_digest(self, digest: str) -> Reference:
        """The same repository pinned to a digest, without the tag."""
        return Reference(self.domain, self.path, "", digest)

    def __str__(self) -> str:
        return self.repository + self._suffix()

    def _suffix(self) -> str:
        return (f":{self.tag}" if self.tag else "") + (f"@{self.digest}" if self.digest else "")


def parse(text: str) -> Reference:
    """The complete name that ``text`` means. Raises: Invalid, saying what is wrong with which part."""
    if not text:
        raise Invalid("an image needs a name, for instance 'busybox:1.36'")
    if _bare_digest.fullmatch(text):
        raise Invalid(f"image {text!r} is a bare id: write repository@sha256:{text}")
    for wrong in ("http://", "https://", "docker://"):
        if text.startswith(wrong):
            raise Invalid(f"image {text!r} is written without {wrong!r}")
    name, at, digest = text.partition("@")
    if at and not _digest.fullmatch(digest):
        raise Invalid(f"image {text!r}: {digest!r} is no digest, which looks like 'sha256:' and 64 hexadecimal digits")
    name, tag = _split_tag(name)
    if tag is not None and not _tag.fullmatch(tag):
        raise Invalid(f"image {text!r}: {tag!r} is no tag: at most 128 of letters, digits, '_', '.' and '-'")
    domain, path = _split_domain(name)
    _check(text, domain, path)
    return Reference(domain, path, tag or ("" if digest else DEFAULT_TAG), digest)


def normalise(text: str) -> str:
    """The one spelling of a name that everything is kept and compared under. With tag and digest, the digest alone is kept.

    Raises: Invalid.
    """
    found = parse(text)
    return str(found.with_digest(found.digest) if found.digest else found)


def familiar(text: str) -> str:
    """The short spelling for people; ``text`` itself when it is no reference."""
    try:
        return parse(text).familiar
    except Invalid:
        return text


def _split_tag(name: str) -> tuple[str, str | None]:
    """A colon after the last slash begins a tag; one before it belongs to the port of the domain."""
    head, colon, tail = name.rpartition(":")
    return (head, tail) if colon and "/" not in tail else (name, None)


def _split_domain(name: str) -> tuple[str, str]:
    first, slash, rest = name.partition("/")
    # A first part is a host only if it looks like one: 'a/b' is a repository of Docker Hub, 'a.b/c' and 'localhost/c' are not.
    if not slash or not ("." in first or ":" in first or first == "localhost" or first != first.lower()):
        domain, path = DEFAULT_DOMAIN, name
    else:
        domain, path = first, rest
    if domain == _LEGACY_DOMAIN:
        domain = DEFAULT_DOMAIN
    if domain == DEFAULT_DOMAIN and path and "/" not in path:
        path = _OFFICIAL + path
    return domain, path


def _check(text: str, domain: str, path: str) -> None:
    if not _domain.fullmatch(domain):
        raise Invalid(f"image {text!r}: {domain!r} is no host name")
    if not _path.fullmatch(path):
        hint = f" (did you mean {text.lower()!r}?)" if path != path.lower() and _path.fullmatch(path.lower()) else ""
        raise Invalid(
            f"image {text!r}: {path.removeprefix(_OFFICIAL)!r} is no repository name: lower case letters and digits{hint}"
        )
    if len(domain) + 1 + len(path) > _MAX_REPOSITORY:
        raise Invalid(f"image {text[:40]!r}...: the name is longer than {_MAX_REPOSITORY} characters")
