"""Docker's flags of ``run`` as the fields of a Container. Pure: what cannot be said yet is refused by name."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from setpoint.cli.failures import Failed, wrong_use
from state.objects import API_VERSION, Object

_RESTART = {"no": "Never", "always": "Always", "unless-stopped": "UnlessStopped", "on-failure": "OnFailure"}
_PULL = {"always": "Always", "missing": "IfNotPresent", "never": "Never"}
_UNITS = {"b": "", "k": "Ki", "kb": "Ki", "m": "Mi", "mb": "Mi", "g": "Gi", "gb": "Gi", "t": "Ti", "tb": "Ti"}
GRACE_S = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Flags:
    """What was typed, in Docker's words."""

    image: str
    command: Sequence[str] = ()
    name: str = ""
    namespace: str = ""
    rm: bool = False
    interactive: bool = False
    tty: bool = False
    env: Sequence[str] = ()
    volume: Sequence[str] = ()
    mount: Sequence[str] = ()
    tmpfs: Sequence[str] = ()
    workdir: str = ""
    user: str = ""
    group_add: Sequence[str] = ()
    entrypoint: str = ""
    restart: str = ""
    network: str = ""
    pid: str = ""
    ipc: str = ""
    hostname: str = ""
    dns: Sequence[str] = ()
    add_host: Sequence[str] = ()
    memory: str = ""
    memory_swap: str = ""
    memory_reservation: str = ""
    cpus: str = ""
    cpu_shares: int = 0
    cpuset: str = ""
    pids_limit: int = 0
    oom_score_adj: int | None = None
    shm_size: str = ""
    read_only: bool = False
    cap_add: Sequence[str] = ()
    cap_drop: Sequence[str] = ()
    privileged: bool = False
    security_opt: Sequence[str] = ()
    init: bool = False
    label: Sequence[str] = ()
    annotation: Sequence[str] = ()
    ulimit: Sequence[str] = ()
    sysctl: Sequence[str] = ()
    log_opt: Sequence[str] = ()
    stop_signal: str = ""
    stop_timeout: int | None = None
    pull: str = ""
    runtime: str = ""


def container(flags: Flags) -> Object:
    """The object that ``run`` makes. Raises Failed."""
    meta: Object = {"name": flags.name, "namespace": flags.namespace or "default"}
    for field, given in (("labels", flags.label), ("annotations", flags.annotation)):
        if pairs := dict(_pair(each, f"--{field[:-1]}", empty=True) for each in given):
            meta[field] = pairs
    volumes, mounts = _storage(flags)
    spec: Object = {
        "image": flags.image,
        "imagePullPolicy": _one_of(_PULL, flags.pull, "--pull"),
        "command": [literal(word) for word in shlex.split(flags.entrypoint)],
        "args": [literal(word) for word in flags.command],
        "env": _env(flags.env),
        "workingDir": flags.workdir,
        "stdin": flags.interactive,
        "tty": flags.tty,
        "init": flags.init,
        "securityContext": _security(flags),
        "resources": _resources(flags),
        "ulimits": [_ulimit(each) for each in flags.ulimit],
        "sysctls": [{"name": name, "value": value} for name, value in (_pair(each, "--sysctl") for each in flags.sysctl)],
        "volumes": volumes,
        "volumeMounts": mounts,
        "shmSize": _bytes(flags.shm_size, "--shm-size"),
        **_life(flags),
        **_network(flags),
        "runtime": flags.runtime,
        "logging": _logging(flags.log_opt),
    }
    return {"apiVersion": API_VERSION, "kind": "Container", "metadata": meta, "spec": _filled(spec)}


def literal(text: str) -> str:
    """As it stands: ``$(VAR)`` and ``$$`` mean something in a declaration, and nothing on Docker's command line."""
    return re.sub(r"\$(?=[$(])", "$$", text)


def name_for(image: str, suffix: str) -> str:
    """A name that tells of the image."""
    base = re.split(r"[:@]", image.rsplit("/", 1)[-1])[0].lower()
    return f"{re.sub(r'[^a-z0-9]+', '-', base).strip('-')[:50] or 'container'}-{suffix}"


def _life(flags: Flags) -> Object:
    word, _, retries = (flags.restart or "no").partition(":")
    life: Object = {"restartPolicy": _one_of(_RESTART, word, "--restart"), "autoRemove": flags.rm}
    if retries:
        if word != "on-failure" or not retries.isdigit():
            raise wrong_use(f"--restart {flags.restart!r}: only on-failure takes a number, such as on-failure:3")
        if int(retries):
            life["restart"] = {"maxRetries": int(retries)}
    life["stopSignal"] = _signal(flags.stop_signal)
    life["terminationGracePeriodSeconds"] = GRACE_S if flags.stop_timeout is None else flags.stop_timeout
    return life


def _filled(fields: Object) -> Object:
    """Without what was not said. 0 is said."""
    return {
        name: value for name, value in fields.items() if value is not None and value is not False and value not in ("", [], {})
    }


def _signal(text: str) -> str:
    if not text or text.isdigit():
        return text
    return text.upper() if text.upper().startswith("SIG") else f"SIG{text.upper()}"


def _network(flags: Flags) -> Object:
    spec: Object = {"hostname": flags.hostname}
    match flags.network:
        case "host":
            spec["hostNetwork"] = True
        case "" | "default" | "bridge":
            pass
        case other:
            raise Failed(f"--network {other} is not supported yet: give host, or leave it out")
    for flag, given, field in (("--pid", flags.pid, "hostPID"), ("--ipc", flags.ipc, "hostIPC")):
        if given == "host":
            spec[field] = True
        elif given not in ("", "private", "shareable"):
            raise Failed(f"{flag} {given} is not supported yet: give host, or leave it out")
    if flags.dns:
        spec |= {"dnsPolicy": "None", "dnsConfig": {"nameservers": list(flags.dns)}}
    if flags.add_host:
        spec["hostAliases"] = list(_aliases(flags.add_host))
    return spec


def _aliases(given: Sequence[str]) -> Iterator[Object]:
    by_ip: dict[str, list[str]] = {}
    for each in given:
        name, found, ip = each.partition("=" if "=" in each else ":")
        if not found or not name or not ip:
            raise wrong_use(f"--add-host {each!r}: write NAME:ADDRESS")
        by_ip.setdefault(ip.strip("[]"), []).append(name)
    yield from ({"ip": ip, "hostnames": names} for ip, names in by_ip.items())


def _env(given: Sequence[str]) -> list[Object]:
    """The last of two with the same name wins, as with Docker."""
    pairs = dict(_pair(each, "-e", empty=True) for each in given)
    return [{"name": name, "value": literal(value)} for name, value in pairs.items()]


def read_env_file(path: str) -> list[str]:
    """Docker's format: NAME=VALUE or NAME on a line, ``#`` begins a comment line; no quotes, no expansion."""
    found = []
    with open(path, encoding="utf-8-sig") as file:
        for number, line in enumerate(file, 1):
            text = line.rstrip("\r\n").lstrip()
            if not text or text.startswith("#"):
                continue
            name, equals, _ = text.partition("=")
            if not name or re.search(r"\s", name):
                raise Failed(f"{path}:{number}: {name!r} is no name of a variable: write NAME=VALUE")
            if equals:
                found.append(text)
            elif name in os.environ:
                found.append(f"{name}={os.environ[name]}")
    return found


def _storage(flags: Flags) -> tuple[list[Object], list[Object]]:
    volumes: list[Object] = []
    mounts: list[Object] = []

    def add(source: Object, mount: Object) -> None:
        name = f"v{len(volumes) + 1}"
        volumes.append({"name": name, **source})
        mounts.append({"name": name, **mount})

    for each in flags.volume:
        add(*_volume(each))
    for each in flags.mount:
        add(*_mount(each))
    for each in flags.tmpfs:
        path, _, options = each.partition(":")
        add(_memory_folder(dict(_pair(o, "--tmpfs", empty=True) for o in options.split(",") if o)), {"mountPath": path})
    return volumes, mounts


def _volume(text: str) -> tuple[Object, Object]:
    parts = text.split(":")
    if len(parts) == 1:
        return {"emptyDir": {}}, {"mountPath": parts[0]}
    if len(parts) > 3 or not parts[0] or not parts[1]:
        raise wrong_use(f"-v {text!r}: write HOST:CONTAINER or HOST:CONTAINER:ro")
    mount: Object = {"mountPath": parts[1]}
    for option in parts[2].split(",") if len(parts) == 3 else ():
        match option:
            case "ro" | "readonly":
                mount["readOnly"] = True
            case "rslave" | "slave":
                mount["mountPropagation"] = "HostToContainer"
            case "rshared" | "shared":
                mount["mountPropagation"] = "Bidirectional"
            case "rw" | "" | "rprivate" | "private" | "z" | "Z":
                pass
            case other:
                raise Failed(f"-v {text}: the option {other!r} is not supported yet")
    return {"hostPath": {"path": _host_path(parts[0], f"-v {text}")}}, mount


def _host_path(path: str, flag: str) -> str:
    if path.startswith(("/", "./", "../", "~/")) or path in (".", ".."):
        return os.path.abspath(os.path.expanduser(path))
    raise Failed(f"{flag}: the named volume {path!r} is not supported yet; a folder of the host is written ./{path} or /…")


def _mount(text: str) -> tuple[Object, Object]:
    fields = dict(_pair(part, "--mount", empty=True) for part in text.split(","))
    target = fields.get("target") or fields.get("dst") or fields.get("destination")
    if not target:
        raise wrong_use(f"--mount {text!r}: target=/PATH is missing")
    mount: Object = {"mountPath": target}
    if any(name in fields and fields[name] not in ("false", "0") for name in ("readonly", "ro")):
        mount["readOnly"] = True
    source = fields.get("source") or fields.get("src") or ""
    match fields.get("type", "volume"):
        case "bind":
            return {"hostPath": {"path": _host_path(source, f"--mount {text}")}}, mount
        case "tmpfs":
            return _memory_folder({"size": fields.get("tmpfs-size", "")}), mount
        case "volume" if not source:
            return {"emptyDir": {}}, mount
        case other:
            raise Failed(f"--mount {text}: type={other} is not supported yet: give bind or tmpfs")


def _memory_folder(options: dict[str, str]) -> Object:
    folder: Object = {"medium": "Memory"}
    if size := _bytes(options.get("size", ""), "size"):
        folder["sizeLimit"] = size
    return {"emptyDir": folder}


def _security(flags: Flags) -> Object:
    context: Object = {}
    user, _, group = flags.user.partition(":")
    if user.isdigit() and (not group or group.isdigit()):
        context["runAsUser"] = int(user)
        if group:
            context["runAsGroup"] = int(group)
    elif flags.user:
        context["user"] = flags.user
    groups = [each for each in flags.group_add if not each.isdigit()]
    if groups:
        raise Failed(f"--group-add {groups[0]}: a name is not supported yet: give the group's number")
    context["supplementalGroups"] = [int(each) for each in flags.group_add]
    context["capabilities"] = _filled({"add": _capabilities(flags.cap_add), "drop": _capabilities(flags.cap_drop)})
    context["privileged"] = flags.privileged
    context["readOnlyRootFilesystem"] = flags.read_only
    shown = _filled(context)
    for option in flags.security_opt:
        shown |= _security_option(option)
    return shown


def _security_option(option: str) -> Object:
    match option.replace("=", ":"):
        case "no-new-privileges" | "no-new-privileges:true":
            return {"allowPrivilegeEscalation": False}
        case "no-new-privileges:false":
            return {}
        case "seccomp:unconfined":
            return {"seccompProfile": {"type": "Unconfined"}}
        case "systempaths:unconfined":
            return {"procMount": "Unmasked"}
        case "apparmor:unconfined" | "label:disable":
            return {}
    raise Failed(f"--security-opt {option} is not supported yet")


def _capabilities(given: Sequence[str]) -> list[str]:
    return list(dict.fromkeys(name.upper().removeprefix("CAP_") for each in given for name in each.split(",")))


def _resources(flags: Flags) -> Object:
    limits: Object = {
        "memory": _bytes(flags.memory, "--memory"),
        "cpu": flags.cpus,
        "pids": str(flags.pids_limit) if flags.pids_limit > 0 else "",
    }
    requests: Object = {
        "memory": _bytes(flags.memory_reservation, "--memory-reservation"),
        "cpu": f"{flags.cpu_shares * 1000 // 1024}m" if flags.cpu_shares else "",
    }
    linux: Object = {
        "memorySwap": "-1" if flags.memory_swap == "-1" else _bytes(flags.memory_swap, "--memory-swap"),
        "cpuset": flags.cpuset,
        "oomScoreAdj": flags.oom_score_adj,
    }
    return _filled({"limits": _filled(limits), "requests": _filled(requests), "linux": _filled(linux)})


def _bytes(text: str, flag: str) -> str:
    """Docker's ``512m`` (powers of 1024) as ``512Mi``; a Kubernetes quantity such as ``512Mi`` stays."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([a-zA-Z]*)", text)
    if not text:
        return ""
    if found and found[2].lower() in _UNITS:
        return found[1] + _UNITS[found[2].lower()]
    if found and (found[2] in ("Ki", "Mi", "Gi", "Ti") or not found[2]):
        return text
    raise wrong_use(f"{flag} {text!r}: write bytes such as 512m, 2g or 512Mi")


def _ulimit(text: str) -> Object:
    name, values = _pair(text, "--ulimit")
    soft, colon, hard = values.partition(":")
    try:
        limit: Object = {"name": name, "soft": int(soft)}
        return {**limit, "hard": int(hard)} if colon else limit
    except ValueError:
        raise wrong_use(f"--ulimit {text!r}: write NAME=SOFT or NAME=SOFT:HARD") from None


def _logging(given: Sequence[str]) -> Object:
    logging: Object = {}
    for name, value in (_pair(each, "--log-opt") for each in given):
        match name:
            case "max-size":
                logging["maxSize"] = _bytes(value, "--log-opt max-size")
            case "max-file" if value.isdigit():
                logging["maxFiles"] = int(value)
            case other:
                raise Failed(f"--log-opt {other} is not supported yet: there are max-size and max-file")
    return logging


def _pair(text: str, flag: str, *, empty: bool = False) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not name or not (equals or empty):
        raise wrong_use(f"{flag} {text!r}: write NAME=VALUE")
    return name, value


def _one_of(words: dict[str, str], given: str, flag: str) -> str:
    if not given:
        return ""
    if given not in words:
        raise wrong_use(f"{flag} {given!r}: give one of {', '.join(words)}")
    return words[given]
