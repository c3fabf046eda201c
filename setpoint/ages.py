"""How long ago, for people."""

from __future__ import annotations


def human_duration(seconds: float) -> str:
    """As kubectl prints ages: two units while small, one when large (``90s``, ``5m30s``, ``3h``, ``2d4h``, ``400d``)."""
    whole = int(seconds)
    if whole < -1:
        return "<invalid>"
    if whole < 120:
        return f"{max(whole, 0)}s"
    minutes, hours, days = whole // 60, whole // 3600, whole // 86400
    if minutes < 10:
        return _two(minutes, "m", whole % 60, "s")
    if hours < 3:
        return f"{minutes}m"
    if hours < 8:
        return _two(hours, "h", minutes % 60, "m")
    if hours < 48:
        return f"{hours}h"
    if days < 8:
        return _two(days, "d", hours % 24, "h")
    return f"{days}d" if days < 2 * 365 else f"{days // 365}y{days % 365}d"


def _two(large: int, unit: str, small: int, fraction: str) -> str:
    return f"{large}{unit}{small}{fraction}" if small else f"{large}{unit}"
