"""Kubernetes quantities as exact numbers. Source: k8s.io/apimachinery ``api/resource`` (the format's grammar)."""

from __future__ import annotations

import re
from fractions import Fraction
from math import ceil

from controllers.container.oci.inputs import invalid

_GRAMMAR = re.compile(r"^([+-]?)(\d+\.?\d*|\.\d+)(?:([numkMGTPE]|[KMGTPE]i)|[eE]([+-]?\d+))?$")
_DECIMAL = {"n": -9, "u": -6, "m": -3, "": 0, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18}
_BINARY = {"Ki": 1, "Mi": 2, "Gi": 3, "Ti": 4, "Pi": 5, "Ei": 6}


def exact(value: object) -> Fraction | None:
    """The number that a quantity stands for; None when it is no quantity."""
    if isinstance(value, bool):
        return None
    match = _GRAMMAR.match(str(value).strip())
    if match is None:
        return None
    sign, digits, suffix, exponent = match.groups()
    number = Fraction(digits.rstrip(".") if digits.endswith(".") else digits)
    if exponent is not None:
        if abs(int(exponent)) > 30:  # beyond any quantity that Kubernetes can hold; keeps 10**n small
            return None
        number *= Fraction(10) ** int(exponent)
    elif suffix in _BINARY:
        number *= 1024 ** _BINARY[suffix]
    else:
        number *= Fraction(10) ** _DECIMAL[suffix or ""]
    return -number if sign == "-" else number


def whole(value: object, field: str) -> int:
    """Whole units (bytes, pieces), rounded up as Kubernetes does."""
    return ceil(_required(value, field))


def millis(value: object, field: str) -> int:
    """Thousandths (millicores), rounded up."""
    return ceil(_required(value, field) * 1000)


def canonical(value: object) -> object:
    """One spelling for equal quantities: an int, else ``numerator/denominator``; what is no quantity stays as it is."""
    number = exact(value)
    if number is None:
        return value
    return number.numerator if number.denominator == 1 else f"{number.numerator}/{number.denominator}"


def _required(value: object, field: str) -> Fraction:
    number = exact(value)
    if number is None:
        raise invalid(field, f"{value!r} is not a quantity; write for example 64Mi, 500m or 2")
    return number
