"""core/v1 quantities, exactly: ``250m``, ``0.5``, ``64Mi``, ``1e3``.

Source: the grammar of k8s.io/apimachinery ``pkg/api/resource`` (a signed decimal number, then a binary suffix, a decimal
suffix or a decimal exponent). Finer than a nano rounds away from zero, as there; larger than 2^63-1 is refused here
rather than capped.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import PydanticCustomError, core_schema

_NANO = 10**9
_LARGEST = (2**63 - 1) * _NANO
_TEXT = re.compile(r"([+-]?)([0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:([eE])([+-]?[0-9]{1,3})|([numkMGTPE]|[KMGTPE]i)?)", re.ASCII)
_SCALE: dict[str, Fraction] = {
    "n": Fraction(1, 10**9),
    "u": Fraction(1, 10**6),
    "m": Fraction(1, 1000),
    "": Fraction(1),
    **{suffix: Fraction(1000 ** (power + 1)) for power, suffix in enumerate("kMGTPE")},
    **{f"{suffix}i": Fraction(1024 ** (power + 1)) for power, suffix in enumerate("KMGTPE")},
}
FORM = "a number with an optional suffix such as 64Mi, 1G, 250m or 0.5"


@dataclass(frozen=True, slots=True)
class Quantity:
    """An exact amount. ``text`` is as it was written; equality is of text, order of ``nanos``."""

    text: str
    nanos: int

    @classmethod
    def parse(cls, value: object) -> Quantity:
        """Reads a JSON string or number. Raises ValueError that says what would be right."""
        if isinstance(value, bool) or not isinstance(value, (str, int, float)):
            raise ValueError(f"must be {FORM}")
        text = value if isinstance(value, str) else repr(value)
        match = _TEXT.fullmatch(text) if len(text) <= 64 else None
        if match is None:
            raise ValueError(f"must be {FORM}{_spelling(text)}")
        sign, number, _, exponent, suffix = match.groups()
        scale = Fraction(10) ** int(exponent) if exponent else _SCALE[suffix or ""]
        exact = Fraction(number + "0" if number.endswith(".") else number) * scale * _NANO
        nanos = -(-exact.numerator // exact.denominator)
        if nanos > _LARGEST:
            raise ValueError("is larger than 2^63-1")
        return cls(text, -nanos if sign == "-" else nanos)

    @property
    def value(self) -> int:
        """Whole units, rounded up: bytes of a memory, number of processes."""
        return -(-self.nanos // _NANO)

    @property
    def millis(self) -> int:
        """Thousandths, rounded up: millicores of a cpu."""
        return -(-self.nanos // 10**6)

    @property
    def whole(self) -> bool:
        return self.nanos % _NANO == 0

    def __str__(self) -> str:
        return self.text

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> core_schema.CoreSchema:
        return core_schema.no_info_plain_validator_function(
            _validated, serialization=core_schema.plain_serializer_function_ser_schema(str)
        )

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: core_schema.CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        return {"anyOf": [{"type": "integer"}, {"type": "string"}], "x-kubernetes-int-or-string": True}


def _spelling(text: str) -> str:
    """A guess at what a near miss meant: ``512MB``, ``512mi``, ``1 Gi``."""
    match = re.fullmatch(r"\s*([0-9.]{1,20})\s*([kKmMgGtT])[iI]?[bB]?\s*", text)
    if match is None:
        return ""
    return f'; did you mean "{match[1]}{match[2].upper()}i"?'


def _validated(value: object) -> Quantity:
    if isinstance(value, Quantity):
        return value
    try:
        return Quantity.parse(value)
    except ValueError as exc:
        raise PydanticCustomError("FieldValueInvalid", str(exc).replace("{", "{{")) from None
