"""What the agent can be told. One file (YAML) and the command line's options, which win."""

from __future__ import annotations

import grp
import math
import os
import resource
from dataclasses import dataclass, fields, replace
from datetime import timedelta
from pathlib import Path
from typing import Any, Literal

import yaml

from controllers.engine.limits import limit_by_files
from state.errors import Cause, Invalid

DEFAULT_DATA_DIR = Path("/var/lib/setpoint")
DEFAULT_RUN_DIR = Path("/run/setpoint")
LONGEST_NAME = 253
_WORDS = {"on_exit": ("keep", "stop"), "log_level": ("debug", "info", "warning", "error")}
_LEAST = {"resync_s": 1.0, "concurrency": 1, "start_budget": 0.01}


@dataclass(frozen=True, slots=True)
class Settings:
    """``containerd``: an external socket, empty for a private one. ``resync_s``: seconds between two full looks.
    ``concurrency``: passes at once. ``group``: whose members may use the API besides root, if it exists.
    ``containerd_program``: what the keeper runs as the private containerd."""

    data_dir: Path = DEFAULT_DATA_DIR
    run_dir: Path = DEFAULT_RUN_DIR
    containerd: str = ""
    on_exit: Literal["keep", "stop"] = "keep"
    resync_s: float = 30.0
    concurrency: int = 8
    group: str = "setpoint"
    node_name: str = ""
    containerd_program: str = "containerd"
    start_budget: float = 4.0
    log_level: str = "info"
    log_links: str = ""

    @property
    def name(self) -> str:
        """The Node's name: the host's, as a DNS-1123 subdomain."""
        name = (self.node_name or os.uname().nodename).lower()
        plain = "".join(c if c.isascii() and (c.isalnum() or c in "-.") else "-" for c in name)[:LONGEST_NAME]
        return ".".join(part for part in (p.strip("-") for p in plain.split(".")) if part) or "node"

    @property
    def links(self) -> Path | None:
        """Where log files are linked for collectors: /var/log/containers for the engine of the host, else nowhere."""
        if self.log_links:
            return Path(self.log_links)
        return Path("/var/log/containers") if self.data_dir == DEFAULT_DATA_DIR else None

    @property
    def resync(self) -> timedelta:
        return timedelta(seconds=self.resync_s)

    @property
    def gid(self) -> int | None:
        try:
            return grp.getgrnam(self.group).gr_gid
        except KeyError:
            return None

    @property
    def slots(self) -> int:
        return limit_by_files(self.concurrency, resource.getrlimit(resource.RLIMIT_NOFILE)[0])


def load(path: Path | None, options: dict[str, Any]) -> Settings:
    """Settings from a file and options (None: not given). Raises Invalid naming the key."""
    settings = Settings()
    known = {f.name for f in fields(Settings)}
    from_file: dict[str, Any] = {}
    if path is not None:
        from_file = _read(path)
        wrong = [
            Cause(name, f"no such setting; known are {', '.join(sorted(known))}") for name in from_file if name not in known
        ]
        if wrong:
            raise Invalid(f"{path}: {wrong[0]}", causes=wrong)
    merged = {**from_file, **{name: value for name, value in options.items() if value is not None}}
    typed = {name: _typed(name, value, getattr(settings, name)) for name, value in merged.items()}
    return replace(settings, **typed)


def _read(path: Path) -> dict[str, Any]:
    try:
        doc = yaml.safe_load(path.read_text())
    except OSError as error:
        raise Invalid(f"{path}: {error.strerror}") from error
    except yaml.YAMLError as error:
        raise Invalid(f"{path}: not YAML: {error}") from error
    if doc is None:
        return {}
    if not isinstance(doc, dict):
        raise Invalid(f"{path}: must be a mapping of settings")
    return {str(name).replace("-", "_"): value for name, value in doc.items()}


def _typed(name: str, value: Any, default: Any) -> Any:
    """The value as its type, or Invalid that names the key and what would be right."""
    if isinstance(default, Path):
        if not isinstance(value, (str, Path)) or not str(value):
            raise _wrong(name, value, "must be a path")
        return Path(value).absolute()
    if isinstance(default, str):
        return _word(name, value)
    try:
        number = type(default)(value)
    except (TypeError, ValueError, OverflowError) as error:
        raise _wrong(name, value, "must be a number") from error
    if isinstance(value, bool) or number != float(value) or not math.isfinite(number):
        raise _wrong(name, value, "must be a whole number" if isinstance(default, int) else "must be a number")
    if number < _LEAST.get(name, number):
        raise _wrong(name, value, f"must be at least {_LEAST[name]:g}")
    return number


def _word(name: str, value: Any) -> str:
    if not isinstance(value, str):
        raise _wrong(name, value, "must be a text; put it in quotes")
    if name in _WORDS and value not in _WORDS[name]:
        raise _wrong(name, value, f"must be one of {', '.join(_WORDS[name])}")
    return value


def _wrong(name: str, value: Any, told: str) -> Invalid:
    return Invalid(f"{name}: {value!r}: {told}", causes=[Cause(name, told)])
