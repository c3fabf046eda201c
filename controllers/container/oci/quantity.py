"""Kubernetes quantities as the runtime's numbers; what is none is Invalid and names its field."""

from __future__ import annotations

from controllers.container.oci.inputs import invalid
from state.resources.quantity import Quantity


def whole(value: object, field: str) -> int:
    """Whole units (bytes, pieces), rounded up as Kubernetes does."""
    return parse(value, field).value


def millis(value: object, field: str) -> int:
    """Thousandths (millicores), rounded up."""
    return parse(value, field).millis


def parse(value: object, field: str) -> Quantity:
    try:
        return Quantity.parse(value)
    except ValueError as exc:
        raise invalid(field, f"{value!r} {exc}") from exc


def canonical(value: object) -> object:
    """One spelling for equal quantities: billionths as an int; what is no quantity stays as it is."""
    try:
        return Quantity.parse(value).nanos
    except ValueError:
        return value
