"""What the agent can be told. One file (YAML) and the command line's options, which win."""

from __future__ import annotations

import grp
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
    concurrency: int = 6
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
        return "".join(c if c.isalnum() or c in "-." else "-" for c in name).strip("-.") or "node"

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
    try:
        return Path(value).absolute() if isinstance(default, Path) else type(default)(value)
    except (TypeError, ValueError) as error:
        raise Invalid(f"{name}: {value!r} is not a {type(default).__name__}", causes=[Cause(name, str(error))]) from error
