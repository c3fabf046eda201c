"""Query parameters, read as a Kubernetes API server reads them, but refused where it would guess."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from state.errors import BadRequest


def flag(query: Mapping[str, str], name: str) -> bool:
    """False only when absent, ``false`` or ``0``, in any case: clients send ``True``, ``1`` and nothing at all."""
    value = query.get(name)
    return value is not None and value.lower() not in ("false", "0")


def number(query: Mapping[str, str], name: str, default: int = 0) -> int:
    """A whole number that is not negative."""
    value = query.get(name, "")
    if not value:
        return default
    if not (value.isascii() and value.isdigit() and len(value) <= 18):
        raise BadRequest(f"query parameter {name}={value!r} is not a whole number")
    return int(value)


def seconds(query: Mapping[str, str], name: str) -> float | None:
    """Seconds with an optional fraction; None when absent."""
    value = query.get(name, "")
    if not value:
        return None
    if not (value.replace(".", "", 1).isdigit() and value.isascii()):
        raise BadRequest(f"query parameter {name}={value!r} is not a number of seconds")
    return float(value)


def dry_run(query: Mapping[str, str]) -> bool:
    """``dryRun=All`` or nothing."""
    value = query.get("dryRun")
    if value not in (None, "", "All"):
        raise BadRequest(f"query parameter dryRun={value!r} is not taken; it may be All")
    return value == "All"


def instant(query: Mapping[str, str], name: str) -> str:
    """An RFC 3339 time with a zone, as it was given; empty when absent."""
    value = query.get(name, "")
    if value:
        try:
            zoned = datetime.fromisoformat(value).tzinfo is not None
        except ValueError:
            zoned = False
        if not zoned:
            raise BadRequest(f"query parameter {name}={value!r} is not a time as 2006-01-02T15:04:05Z")
    return value
