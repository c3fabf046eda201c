"""Rules of a Container between fields.

They read the raw object and skip what has a wrong shape, so that shape errors and rule errors are told together.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from posixpath import normpath
from typing import Any

from state.errors import Cause
from state.objects import GROUP, Object
from state.resources.fields import DUPLICATE, FORBIDDEN, INVALID, REQUIRED, is_timestamp, parse_duration
from state.resources.limits import is_ipc_sysctl, is_net_sysctl
from state.resources.quantity import Quantity

_SOURCES = ("hostPath", "emptyDir", "configMap", "secret")
_LATER_SOURCES = ("projected", "volume", "from")


def rule_problems(spec: Object) -> Iterator[Cause]:
    """Every broken rule of a raw spec."""
    for rule in _RULES:
        yield from rule(spec)


def annotation_problems(meta: Any) -> Iterator[Cause]:
    """The annotation that the loop obeys by its value: a typing error there would hold a container for ever."""
    value = _text(_below({"metadata": meta}, "metadata", "annotations"), f"{GROUP}/hold")
    if value not in ("", "true", "false") and not is_timestamp(value):
        right = 'must be "true", "false" or a time in RFC 3339, such as "2026-01-31T12:00:00Z"'
        yield Cause(f"metadata.annotations[{GROUP}/hold]", f'Invalid value: "{value[:60]}": {right}', INVALID)


def _items(holder: Object, name: str) -> Iterator[tuple[int, Object]]:
    """The items of a list that are objects, with their index."""
    values = holder.get(name)
    if isinstance(values, list):
        for at, value in enumerate(values):
            if isinstance(value, dict):
                yield at, value


def _below(holder: Object, *names: str) -> Object:
    """The object at a path; empty when there is none."""
    at: Any = holder
    for name in names:
        at = at.get(name) if isinstance(at, dict) else None
    return at if isinstance(at, dict) else {}


def _text(holder: Object, name: str) -> str:
    value = holder.get(name)
    return value if isinstance(value, str) else ""


def _quantity(holder: Object, name: str) -> Quantity | None:
    if name not in holder:
        return None
    try:
        return Quantity.parse(holder[name])
    except ValueError:
        return None


def _duplicates(spec: Object, name: str, key: str, form: Callable[[str], str] = str) -> Iterator[Cause]:
    seen: dict[str, int] = {}
    for at, item in _items(spec, name):
        if not (value := _text(item, key)):
            continue
        if (first := seen.setdefault(form(value), at)) != at:
            yield Cause(
                f"spec.{name}[{at}].{key}", f'Duplicate value: "{value[:80]}": spec.{name}[{first}] has it already', DUPLICATE
            )


def _unique(spec: Object) -> Iterator[Cause]:
    for name, key in (("env", "name"), ("volumes", "name"), ("ulimits", "name"), ("sysctls", "name"), ("hostAliases", "ip"),
                      ("imagePullSecrets", "name")):  # fmt: skip
        yield from _duplicates(spec, name, key)
    yield from _duplicates(spec, "volumeMounts", "mountPath", normpath)
    added = _below(spec, "securityContext", "capabilities")
    for side in ("add", "drop"):
        names = added.get(side)
        if isinstance(names, list):
            for at, name in enumerate(names):
                if isinstance(name, str) and name in names[:at]:
                    yield Cause(f"spec.securityContext.capabilities.{side}[{at}]", f'Duplicate value: "{name[:40]}"', DUPLICATE)


def _environment(spec: Object) -> Iterator[Cause]:
    for at, item in _items(spec, "env"):
        source = item.get("valueFrom")
        if not isinstance(source, dict):
            continue
        path = f"spec.env[{at}].valueFrom"
        if item.get("value"):
            yield Cause(path, "Invalid value: not together with value: keep one of them", INVALID)
        if len(source) > 1:
            yield Cause(path, f"Invalid value: only one source, not {_listed(source)}", INVALID)
        elif not source:
            yield Cause(path, "Required value: configMapKeyRef or secretKeyRef", REQUIRED)
    for at, item in _items(spec, "envFrom"):
        given = [name for name in ("configMapRef", "secretRef") if name in item]
        if len(given) != 1:
            reason, lead = (INVALID, "Invalid value: only one of") if given else (REQUIRED, "Required value:")
            yield Cause(f"spec.envFrom[{at}]", f"{lead} configMapRef or secretRef", reason)


def _listed(names: Object) -> str:
    return " and ".join(str(name)[:40] for name in sorted(names)[:4])


def _volumes(spec: Object) -> Iterator[Cause]:
    for at, volume in _items(spec, "volumes"):
        path = f"spec.volumes[{at}]"
        given = [name for name in (*_SOURCES, *_LATER_SOURCES) if name in volume]
        if len(given) > 1:
            yield Cause(path, f"Invalid value: only one source, not {' and '.join(given)}", INVALID)
        elif not given and set(volume) <= {"name"}:
            yield Cause(
                path, f"Required value: one source: {', '.join(_SOURCES)}; an empty one is written emptyDir: {{}}", REQUIRED
            )
        empty = _below(volume, "emptyDir")
        if "sizeLimit" in empty and empty.get("medium") != "Memory":
            yield Cause(f"{path}.emptyDir.sizeLimit", "not supported yet without medium: Memory", FORBIDDEN)
        if (limit := _quantity(empty, "sizeLimit")) is not None and limit.value < 4096:
            yield Cause(f"{path}.emptyDir.sizeLimit", f'Invalid value: "{limit}": must be at least 4Ki', INVALID)
        for source in ("configMap", "secret"):
            yield from _item_paths(_below(volume, source), f"{path}.{source}")


def _item_paths(source: Object, path: str) -> Iterator[Cause]:
    seen: set[str] = set()
    for at, item in _items(source, "items"):
        name = normpath(_text(item, "path") or ".")
        if name != "." and name in seen:
            yield Cause(f"{path}.items[{at}].path", f'Duplicate value: "{name[:80]}"', DUPLICATE)
        seen.add(name)


def _mounts(spec: Object) -> Iterator[Cause]:
    names = [_text(volume, "name") for _, volume in _items(spec, "volumes")]
    privileged = _below(spec, "securityContext").get("privileged") is True
    for at, mount in _items(spec, "volumeMounts"):
        name = _text(mount, "name")
        if name and name not in names:
            known = f"there are: {', '.join(names[:8])}" if names else "spec.volumes is empty"
            yield Cause(
                f"spec.volumeMounts[{at}].name",
                f'Invalid value: "{name[:80]}": no volume has this name; {known[:200]}',
                INVALID,
            )
        if mount.get("mountPropagation") == "Bidirectional" and not privileged:
            yield Cause(
                f"spec.volumeMounts[{at}].mountPropagation",
                "Forbidden: Bidirectional needs securityContext.privileged: true",
                FORBIDDEN,
            )


def _security(spec: Object) -> Iterator[Cause]:
    security = _below(spec, "securityContext")
    path = "spec.securityContext"
    if "user" in security:
        for other in ("runAsUser", "runAsGroup"):
            if other in security:
                yield Cause(f"{path}.user", f"Forbidden: not together with {other}: keep one of them", FORBIDDEN)
    root = security.get("runAsUser") == 0 or _text(security, "user").partition(":")[0] in ("root", "0")
    if security.get("runAsNonRoot") is True and root:
        yield Cause(f"{path}.runAsNonRoot", "Invalid value: true: the user given is root", INVALID)
    if security.get("allowPrivilegeEscalation") is False:
        added = _below(security, "capabilities").get("add")
        if security.get("privileged") is True:
            yield Cause(f"{path}.allowPrivilegeEscalation", "Invalid value: false: not together with privileged: true", INVALID)
        elif isinstance(added, list) and ("SYS_ADMIN" in added or "ALL" in added):
            yield Cause(
                f"{path}.allowPrivilegeEscalation", "Invalid value: false: not together with the capability SYS_ADMIN", INVALID
            )


def _life(spec: Object) -> Iterator[Cause]:
    policy = spec.get("restartPolicy")
    if spec.get("autoRemove") is True and policy in ("Always", "UnlessStopped"):
        yield Cause(
            "spec.autoRemove",
            f"Forbidden: not together with restartPolicy: {policy}: write restartPolicy: Never or OnFailure",
            FORBIDDEN,
        )
    strategy = _below(spec, "updateStrategy")
    ready, progress = strategy.get("minReadySeconds", 0), strategy.get("progressDeadlineSeconds", 600)
    if type(ready) is int and type(progress) is int and ready >= progress > 0:
        yield Cause(
            "spec.updateStrategy.minReadySeconds",
            f"Invalid value: {ready}: must be below progressDeadlineSeconds, {progress}, or no replacement could become Ready",
            INVALID,
        )
    backoff = _below(spec, "restart", "backoff")
    try:
        initial, most = parse_duration(backoff.get("initial", "100ms")), parse_duration(backoff.get("max", "60s"))
    except ValueError:
        return
    if most < initial:
        yield Cause(
            "spec.restart.backoff.max", f'Invalid value: "{backoff.get("max", "60s")}": must not be below initial', INVALID
        )


def _resources(spec: Object) -> Iterator[Cause]:
    limits, requests = _below(spec, "resources", "limits"), _below(spec, "resources", "requests")
    for name in ("memory", "cpu"):
        most, asked = _quantity(limits, name), _quantity(requests, name)
        if most is not None and asked is not None and asked.nanos > most.nanos:
            yield Cause(
                f"spec.resources.requests.{name}", f'Invalid value: "{asked}": must be at most the limit, {most}', INVALID
            )
    swap, memory = _quantity(_below(spec, "resources", "linux"), "memorySwap"), _quantity(limits, "memory")
    if swap is not None and swap.nanos >= 0:
        path = "spec.resources.linux.memorySwap"
        if memory is None:
            yield Cause(path, "Forbidden: needs resources.limits.memory: it counts memory and swap together", FORBIDDEN)
        elif swap.nanos < memory.nanos:
            yield Cause(
                path, f'Invalid value: "{swap}": memory and swap together must be at least limits.memory, {memory}', INVALID
            )


def _process(spec: Object) -> Iterator[Cause]:
    for at, limit in _items(spec, "ulimits"):
        soft, hard = limit.get("soft"), limit.get("hard")
        if type(soft) is int and type(hard) is int and hard != -1 and (soft > hard or soft == -1):
            yield Cause(f"spec.ulimits[{at}].soft", f"Invalid value: {soft}: must be at most hard, {hard}", INVALID)
    for at, sysctl in _items(spec, "sysctls"):
        name = _text(sysctl, "name")
        shared = (spec.get("hostNetwork") is True and is_net_sysctl(name) and "hostNetwork") or (
            spec.get("hostIPC") is True and is_ipc_sysctl(name) and "hostIPC"
        )
        if shared:
            yield Cause(
                f"spec.sysctls[{at}].name",
                f'Forbidden: "{name[:80]}" would change the node: not together with {shared}',
                FORBIDDEN,
            )


def _names(spec: Object) -> Iterator[Cause]:
    if spec.get("dnsPolicy") == "None" and not _below(spec, "dnsConfig").get("nameservers"):
        yield Cause("spec.dnsConfig.nameservers", "Required value: dnsPolicy: None needs at least one", REQUIRED)
    searches = _below(spec, "dnsConfig").get("searches")
    if isinstance(searches, list) and len(" ".join(each for each in searches if isinstance(each, str))) > 2048:
        yield Cause("spec.dnsConfig.searches", "Too long: at most 2048 characters in all", "FieldValueTooLong")


_RULES: tuple[Callable[[Object], Iterator[Cause]], ...] = (
    _unique, _environment, _volumes, _mounts, _security, _life, _resources, _process, _names,
)  # fmt: skip
