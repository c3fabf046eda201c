"""``ulimits`` as the runtime's rlimits. Source: setrlimit(2)."""

from __future__ import annotations

from controllers.container.oci.inputs import invalid
from state.objects import Object

INFINITY = 2**64 - 1
_NAMES = "as core cpu data fsize locks memlock msgqueue nice nofile nproc rss rtprio rttime sigpending stack"
NAMES = frozenset(_NAMES.split())


def rlimits(spec: Object) -> list[Object]:
    """Sorted by name; what is not declared is inherited."""
    result = {}
    for index, entry in enumerate(spec.get("ulimits") or ()):
        field = f"spec.ulimits[{index}]"
        name = str(entry.get("name", "")).lower().removeprefix("rlimit_")
        if name not in NAMES:
            raise invalid(f"{field}.name", f"unknown limit {entry.get('name')!r}; one of {', '.join(sorted(NAMES))}")
        soft = _limit(entry.get("soft", entry.get("hard")), f"{field}.soft")
        hard = _limit(entry.get("hard", entry.get("soft")), f"{field}.hard")
        if soft > hard:
            raise invalid(f"{field}.soft", f"{soft} is above hard {hard}")
        result[name] = {"type": f"RLIMIT_{name.upper()}", "soft": soft, "hard": hard}
    return [result[name] for name in sorted(result)]


def _limit(value: object, field: str) -> int:
    if value in (-1, "-1", "unlimited", "infinity"):
        return INFINITY
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return value
    raise invalid(field, f"{value!r} is not a limit; write a number, or -1 for none")
