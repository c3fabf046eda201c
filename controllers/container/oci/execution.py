"""The process of an exec: the container's own, with the differences that the caller asks for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from controllers.container.oci import capabilities, environment
from controllers.container.oci.inputs import clean_path, invalid
from controllers.container.oci.user import Identity, look_up
from controllers.container.ports import HostFacts, ImageInfo
from state.objects import Object


def exec_process(
    container_spec_json: Object,
    image: ImageInfo,
    *,
    command: Sequence[str],
    tty: bool = False,
    user: str = "",
    cwd: str = "",
    env: Mapping[str, str] | None = None,
    privileged: bool = False,
    host: HostFacts | None = None,
) -> Object:
    """An OCI ``process``. ``container_spec_json`` is the running container's runtime spec; environment, capabilities, rlimits,
    AppArmor profile and no-new-privileges come from it, and its user and directory unless ``user`` (``name|uid[:group|gid]``,
    looked up in the image) and ``cwd`` say otherwise. ``privileged`` gives every capability that ``host`` has."""
    if not command or not command[0]:
        raise invalid("command", "nothing to run", "FieldValueRequired")
    base = container_spec_json["process"]
    who = look_up(user, image, "user") if user else None
    result: Object = {key: value for key, value in base.items() if key not in ("args", "terminal", "env", "consoleSize")}
    result |= {
        "terminal": tty,
        "args": list(command),
        "env": _environment(base, tty=tty, extra=env or {}, who=who),
        "cwd": _directory(cwd) if cwd else base.get("cwd") or "/",
    }
    if who is not None:
        result["user"] = who.to_oci()
    uid = int(result["user"]["uid"])
    bounding = capabilities.available(host) if privileged else (base.get("capabilities") or {}).get("bounding") or ()
    result["capabilities"] = capabilities.to_oci(bounding, uid)
    if privileged:
        result["noNewPrivileges"] = False
        result.pop("apparmorProfile", None)
    return result


def _environment(base: Object, *, tty: bool, extra: Mapping[str, str], who: Identity | None) -> list[str]:
    merged = environment.pairs(base.get("env") or ())
    if who is not None:
        merged["HOME"] = who.home
    if tty:
        merged.setdefault("TERM", "xterm")
    merged |= extra
    return [f"{name}={value}" for name, value in merged.items()]


def _directory(cwd: str) -> str:
    if not cwd.startswith("/"):
        raise invalid("workingDir", f"{cwd!r} is not absolute; write for example /{cwd}")
    return clean_path(cwd)
