"""The errors that every layer speaks.

Two questions only: can it be retried, and whose fault is it. Drivers translate foreign errors into these at the edge;
the API turns them into a Kubernetes ``Status``, the command line into one line and an exit code.

    StateError
    ├── BadRequest         400  the request cannot be read
    ├── Denied             403  understood, and refused for this caller or this object
    ├── NotFound           404  no such object
    ├── AlreadyExists      409  the name is taken
    ├── Conflict           409  the object changed in between, or another field manager owns the field
    ├── Gone               410  the revision asked for is compacted: list again
    ├── TooLarge           413  the body or the object is over its limit
    ├── UnsupportedMedia   415  a patch type that this kind does not take
    ├── Invalid            422  the object breaks its schema; ``causes`` name the fields
    ├── Busy               429  later; ``retry_after_s`` tells when
    ├── Unavailable        503  the other side cannot be reached or cannot answer now: retry
    └── InDoubt            504  we stopped waiting and do not know whether it happened: look before doing more
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar


@dataclass(frozen=True, slots=True)
class Cause:
    """One thing wrong with one field. ``reason`` is a Kubernetes cause type such as ``FieldValueInvalid``."""

    field: str
    message: str
    reason: str = "FieldValueInvalid"

    def __str__(self) -> str:
        return f"{self.field}: {self.message}" if self.field else self.message


class StateError(Exception):
    """Base of all errors that cross a layer."""

    code: ClassVar[int] = 500
    reason: ClassVar[str] = "InternalError"

    def __init__(
        self, message: str, *, causes: Sequence[Cause] = (), kind: str = "", name: str = "", retry_after_s: int = 0
    ) -> None:
        super().__init__(message)
        self.message = message
        self.causes = tuple(causes)
        self.kind = kind
        self.name = name
        self.retry_after_s = retry_after_s

    def to_status(self) -> dict[str, Any]:
        """This error as a Kubernetes ``Status`` object (meta/v1)."""
        details: dict[str, Any] = {}
        if self.name:
            details["name"] = self.name
        if self.kind:
            details["kind"] = self.kind
        if self.causes:
            details["causes"] = [
                {"reason": cause.reason, "message": cause.message, "field": cause.field} for cause in self.causes
            ]
        if self.retry_after_s:
            details["retryAfterSeconds"] = self.retry_after_s
        status: dict[str, Any] = {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "message": self.message,
            "reason": self.reason,
            "code": self.code,
        }
        if details:
            status["details"] = details
        return status


class BadRequest(StateError):
    code, reason = 400, "BadRequest"


class Denied(StateError):
    code, reason = 403, "Forbidden"


class NotFound(StateError):
    code, reason = 404, "NotFound"


class AlreadyExists(StateError):
    code, reason = 409, "AlreadyExists"


class Conflict(StateError):
    code, reason = 409, "Conflict"


class Gone(StateError):
    code, reason = 410, "Expired"


class TooLarge(StateError):
    code, reason = 413, "RequestEntityTooLarge"


class UnsupportedMedia(StateError):
    code, reason = 415, "UnsupportedMediaType"


class Invalid(StateError):
    code, reason = 422, "Invalid"


class Busy(StateError):
    code, reason = 429, "TooManyRequests"


class Unavailable(StateError):
    code, reason = 503, "ServiceUnavailable"


class InDoubt(StateError):
    code, reason = 504, "Timeout"


_BY_REASON: dict[str, type[StateError]] = {
    cls.reason: cls
    for cls in (
        BadRequest,
        Denied,
        NotFound,
        AlreadyExists,
        Conflict,
        Gone,
        TooLarge,
        UnsupportedMedia,
        Invalid,
        Busy,
        Unavailable,
        InDoubt,
    )
}


def from_status(status: dict[str, Any]) -> StateError:
    """The error that a ``Status`` object tells of; the inverse of :meth:`StateError.to_status`."""
    details = status.get("details") or {}
    causes = [Cause(c.get("field", ""), c.get("message", ""), c.get("reason", "")) for c in details.get("causes") or ()]
    cls = _BY_REASON.get(status.get("reason", ""), StateError)
    return cls(
        status.get("message", "unknown error"),
        causes=causes,
        kind=details.get("kind", ""),
        name=details.get("name", ""),
        retry_after_s=details.get("retryAfterSeconds", 0),
    )
