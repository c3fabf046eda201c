"""The base of every model, and the value types that several kinds share.

A wrong value raises ``PydanticCustomError(reason, message)`` whose type is a Kubernetes cause reason; what turns it into a
:class:`state.errors.Cause` is :mod:`state.resources.problems`.
"""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from posixpath import normpath
from typing import Annotated, Any, Final, NoReturn, TypeAlias, TypeVar

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, Strict, WithJsonSchema
from pydantic.alias_generators import to_camel
from pydantic_core import PydanticCustomError

INVALID: Final = "FieldValueInvalid"
REQUIRED: Final = "FieldValueRequired"
UNSUPPORTED: Final = "FieldValueNotSupported"
FORBIDDEN: Final = "FieldValueForbidden"
DUPLICATE: Final = "FieldValueDuplicate"
TOO_LONG: Final = "FieldValueTooLong"
LATER: Final = "SetpointNotYet"
"""Error type of a field that is named in the API and not built yet; its cause reason is ``FieldValueForbidden``."""

INT32: Final = 2**31 - 1
INT64: Final = 2**63 - 1


class Model(BaseModel):
    """A frozen object of the API: camelCase outside, unknown fields refused, no silent conversion of types."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, alias_generator=to_camel)


T = TypeVar("T")
Items: TypeAlias = Annotated[tuple[T, ...], Strict(False)]
"""A list of the API, frozen. Strict mode would take tuples only."""

CONDITIONAL: Final[dict[str, Any]] = {"x-setpoint-conditional": True}
"""Marks a default that depends on other fields: filled when parsed, never written into the stored object."""


def keyed(*keys: str) -> dict[str, Any]:
    """Schema of a list whose items are known by these fields (server-side apply merges them one by one)."""
    return {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": list(keys)}


SET: Final[dict[str, Any]] = {"x-kubernetes-list-type": "set"}


def wrong(message: str, reason: str = INVALID) -> PydanticCustomError:
    return PydanticCustomError(reason, "{text}", {"text": message})


def _refuse(value: object) -> NoReturn:
    raise wrong("", LATER)


Later: TypeAlias = Annotated[None, BeforeValidator(_refuse), WithJsonSchema({"x-setpoint-later": True})]
"""A field that the API has and this version does not build: any value is refused by name."""


def later(description: str, *, alias: str | None = None) -> Any:
    return Field(default=None, alias=alias, description=description)


# Names -----------------------------------------------------------------------------------------------------------------

_LABEL = re.compile(r"[a-z0-9](?:[-a-z0-9]*[a-z0-9])?", re.ASCII)
_SUBDOMAIN = re.compile(r"[a-z0-9](?:[-a-z0-9]*[a-z0-9])?(?:\.[a-z0-9](?:[-a-z0-9]*[a-z0-9])?)*", re.ASCII)


def name_problem(value: str, *, subdomain: bool = False) -> str:
    """What is wrong with a DNS-1123 label (or subdomain), with a name that would do; empty when nothing is."""
    most = 253 if subdomain else 63
    if len(value) <= most and (_SUBDOMAIN if subdomain else _LABEL).fullmatch(value):
        return ""
    what = '"-" or "."' if subdomain else '"-"'
    text = f"must be lower-case letters, digits or {what}, begin and end with a letter or digit, at most {most} of them"
    better = re.sub(r"[^-a-z0-9.]+" if subdomain else r"[^-a-z0-9]+", "-", value.lower())[:most]
    better = re.sub(r"(^|\.)[-.]+|[-.]+(\.|$)", r"\1\2", better).strip("-.")
    if better != value and (_SUBDOMAIN if subdomain else _LABEL).fullmatch(better):
        text += f', such as "{better}"'
    return text


def _label(value: str) -> str:
    if problem := name_problem(value):
        raise wrong(problem)
    return value


def _subdomain(value: str) -> str:
    if problem := name_problem(value, subdomain=True):
        raise wrong(problem)
    return value


Label = Annotated[str, AfterValidator(_label), Field(json_schema_extra={"maxLength": 63, "pattern": f"^{_LABEL.pattern}$"})]
Subdomain = Annotated[str, AfterValidator(_subdomain), Field(json_schema_extra={"maxLength": 253})]

_DATA_KEY = re.compile(r"[-._a-zA-Z0-9]{1,253}", re.ASCII)


def data_key(value: str) -> str:
    """A key of a ConfigMap or Secret."""
    if not _DATA_KEY.fullmatch(value) or value in (".", "..") or value.startswith(".."):
        raise wrong('must be 1 to 253 letters, digits, "-", "_" or ".", and not begin with ".."')
    return value


DataKey = Annotated[str, AfterValidator(data_key)]


# Paths -----------------------------------------------------------------------------------------------------------------


def _absolute(value: str) -> str:
    if not value.startswith("/"):
        raise wrong(f'must be an absolute path, such as "/{value.lstrip("./~")}"')
    if len(value) > 4095:
        raise wrong("must be at most 4095 bytes long", TOO_LONG)
    if ".." in value.split("/"):
        raise wrong('must not contain ".."')
    return value


def _relative(value: str) -> str:
    if value.startswith("/"):
        raise wrong(f'must be a relative path, such as "{value.lstrip("/")}"')
    if ".." in value.split("/"):
        raise wrong('must not contain ".."')
    return value


# the few files below /proc that runc lets be mounted over (lxcfs does)
_PROC_FILES = frozenset(
    f"/proc/{name}" for name in ["cpuinfo", "diskstats", "meminfo", "stat", "swaps", "uptime", "loadavg", "slabinfo", "net/dev"]
)


def in_proc(path: str) -> bool:
    """Whether the runtime refuses a mount at this normal absolute path, since it would hide what /proc tells."""
    return path == "/proc" or (path.startswith("/proc/") and path not in _PROC_FILES)


def _mount_path(value: str) -> str:
    if ":" in value:
        raise wrong('must not contain ":"')
    if not _absolute(value).strip("/."):
        raise wrong("the root of the container cannot be mounted over: name a folder below it")
    if in_proc(f"/{normpath(value).lstrip('/')}"):
        raise wrong("the runtime refuses mounts in /proc: name a folder elsewhere")
    return value


AbsolutePath = Annotated[str, AfterValidator(_absolute)]
RelativePath = Annotated[str, AfterValidator(_relative)]
MountPath = Annotated[str, AfterValidator(_mount_path)]


def _mode(value: object) -> object:
    if isinstance(value, int) and not isinstance(value, bool) and not 0 <= value <= 0o777:
        hint = ""
        if re.fullmatch(r"[0-7]{3}", str(value)):
            hint = f"; did you mean 0{value} (octal), which is {int(str(value), 8)} in JSON?"
        raise wrong(f"must be a file mode from 0 to 0777 (511){hint}")
    return value


FileMode = Annotated[int, BeforeValidator(_mode), Field(json_schema_extra={"minimum": 0, "maximum": 0o777})]


# Time ------------------------------------------------------------------------------------------------------------------

_PART = re.compile(r"([0-9]+(?:\.[0-9]+)?)(ms|us|µs|ns|h|m|s)", re.ASCII)
_UNIT_S = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 1e-3, "us": 1e-6, "µs": 1e-6, "ns": 1e-9}
_LONGEST_S = 100 * 365 * 86400


def parse_duration(value: object) -> timedelta:
    """Go's notation: ``100ms``, ``60s``, ``1h30m``. Raises ValueError that says what would be right."""
    if isinstance(value, timedelta):
        return value
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        raise ValueError(f'needs a unit: write "{value}s" for seconds')
    if not isinstance(value, str) or len(value) > 64:
        raise ValueError('must be a duration such as "100ms", "60s" or "1h30m"')
    if value == "0":
        return timedelta(0)
    parts = list(_PART.finditer(value))
    if not parts or "".join(part[0] for part in parts) != value:
        hint = f'; write "{value}s" for seconds' if value.isascii() and value.isdigit() else ""
        raise ValueError(f'must be a duration such as "100ms", "60s" or "1h30m"{hint}')
    seconds = sum(float(part[1]) * _UNIT_S[part[2]] for part in parts)
    if seconds > _LONGEST_S:
        raise ValueError("must be at most 100 years")
    return timedelta(seconds=seconds)


def format_duration(value: timedelta) -> str:
    """``100ms`` or ``60s``: the shortest single-unit notation that is exact to the microsecond."""
    micros = value // timedelta(microseconds=1)
    for unit, size in (("s", 10**6), ("ms", 1000)):
        if micros % size == 0:
            return f"{micros // size}{unit}"
    return f"{micros}us"


def _duration(value: object) -> timedelta:
    try:
        return parse_duration(value)
    except ValueError as exc:
        raise wrong(str(exc)) from None


Duration = Annotated[timedelta, BeforeValidator(_duration), WithJsonSchema({"type": "string"})]

_STAMP = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]{1,9})?(?:Z|[+-][0-9]{2}:[0-9]{2})", re.ASCII
)


def is_timestamp(value: str) -> bool:
    """Whether a text is a time in RFC 3339, with up to nine digits of fraction."""
    if not _STAMP.fullmatch(value):
        return False
    try:
        datetime.fromisoformat(re.sub(r"\.[0-9]+", "", value).replace("Z", "+00:00"))
    except ValueError:
        return False
    return True


def _stamp(value: str) -> str:
    if is_timestamp(value):
        return value
    raise wrong('must be a time in RFC 3339, such as "2026-01-31T12:00:00Z"')


Timestamp = Annotated[str, AfterValidator(_stamp), Field(json_schema_extra={"format": "date-time"})]


# Numbers ---------------------------------------------------------------------------------------------------------------


def whole(least: int, most: int = INT32) -> Any:
    """Metadata of an integer between two bounds, both included."""

    def check(value: int) -> int:
        if not least <= value <= most:
            raise wrong(f"must be from {least} to {most}")
        return value

    return AfterValidator(check), Field(json_schema_extra={"minimum": least, "maximum": most})
