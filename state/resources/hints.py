"""Words of other tools, and how they are spelled here.

People bring compose files, ``docker run`` flags and Pods. Each of those words is an error that shows the right spelling,
with the value that was given where it is short.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Callable, Sequence

Where = Sequence[int | str]
NOT_YET = "not supported yet"

_POLICIES = {"always": "Always", "unless-stopped": "UnlessStopped", "on-failure": "OnFailure", "no": "Never", "never": "Never"}


def for_word(parent: Where, word: str, value: object) -> str | None:
    """The hint for an unknown field ``word`` of the object at ``parent``; None when there is none."""
    if tuple(parent) == ():
        return _ROOT.get(word) or (f"it belongs in spec: spec.{word}" if word in _SPEC_FIELDS else None)
    if tuple(parent) == ("metadata",):
        return _METADATA.get(word)
    if tuple(parent) == ("spec",):
        hint = _SPEC.get(word)
        return hint(value) if callable(hint) else hint
    last = next(part for part in reversed(parent) if isinstance(part, str))
    if last in ("limits", "requests"):
        return _resource(last, word)
    return _BELOW.get((last, word)) or _misplaced(word)


def for_value(where: Where, value: object) -> str | None:
    """The hint for a value of a foreign shape in a field that exists; None when there is none."""
    if len(where) < 2 or where[0] != "spec":
        return None
    name = where[1]
    if len(where) == 2:
        shaped = _SHAPES.get(str(name))
        return shaped(value) if shaped else None
    if len(where) == 3 and isinstance(where[2], int) and isinstance(value, str):
        item = _ITEMS.get(str(name))
        return item(value) if item else None
    if tuple(where[1:]) == ("updateStrategy", "type") and value in ("RollingUpdate", "Recreate"):
        return 'write "StopFirst"'
    return None


def _short(value: object) -> str:
    text = json.dumps(value, default=str, ensure_ascii=False)
    return text if len(text) <= 60 else "..."


def _pairs(value: object) -> list[tuple[str, str]]:
    """``{"A": 1}`` or ``["A=1"]`` as pairs of texts."""
    if isinstance(value, dict):
        return [(str(key), each if isinstance(each, str) else json.dumps(each, default=str)) for key, each in value.items()]
    if isinstance(value, list):
        return [(each.partition("=")[0], each.partition("=")[2]) for each in value if isinstance(each, str)]
    return []


def _env(value: object) -> str:
    pairs = _pairs(value) or [("NAME", "value")]
    name, text = pairs[0]
    return f"write env: [{{name: {name[:40]}, value: {_short(text)}}}]"


def _restart(value: object) -> str | None:
    if value is False:
        return "write restartPolicy: Never"
    if not isinstance(value, str):
        return None
    word, _, retries = value.lower().partition(":")
    if (policy := _POLICIES.get(word)) is None:
        return "restart holds maxRetries, backoff and crashBudget; the policy is restartPolicy: Always, OnFailure or Never"
    if retries.isascii() and retries.isdigit():
        return f"write restartPolicy: {policy} and restart: {{maxRetries: {retries[:9]}}}"
    return f"write restartPolicy: {policy}"


def _command(value: object) -> str | None:
    if not isinstance(value, str):
        return None
    try:
        words = shlex.split(value[:200])
    except ValueError:
        words = []
    if re.search(r"[|&;<>$*`\n]", value) or not words:
        words = ["sh", "-c", value]
    return f"must be a list: write {_short(words)}"


def _volume(value: str) -> str:
    source, _, rest = value.partition(":")
    target = rest.partition(":")[0] or "/data"
    name = re.sub(r"[^a-z0-9]+", "-", source.lower()).strip("-")[:40] or "data"
    kind = f"hostPath: {{path: {source[:60]}}}" if source.startswith(("/", ".", "~")) else "emptyDir: {}"
    read_only = ", readOnly: true" if rest.endswith(":ro") else ""
    return (
        f"write volumes: [{{name: {name}, {kind}}}] and volumeMounts: [{{name: {name}, mountPath: {target[:60]}{read_only}}}]"
    )


def _volumes(value: object) -> str | None:
    if isinstance(value, dict):
        return "must be a list of {name, and one of hostPath, emptyDir, configMap, secret}"
    return None


def _ulimits(value: object) -> str | None:
    if not isinstance(value, dict) or not value:
        return None
    name, limit = next(iter(value.items()))
    soft, hard = (limit.get("soft"), limit.get("hard")) if isinstance(limit, dict) else (limit, limit)
    return f"must be a list: write [{{name: {str(name)[:40]}, soft: {_short(soft)}, hard: {_short(hard)}}}]"


def _sysctls(value: object) -> str | None:
    pairs = _pairs(value) if isinstance(value, dict) else []
    return f'must be a list: write [{{name: {pairs[0][0][:60]}, value: "{pairs[0][1][:40]}"}}]' if pairs else None


def _host_alias(value: str) -> str:
    name, _, address = value.partition(":")
    return f"write {{ip: {address[:45] or '10.0.0.1'}, hostnames: [{name[:60]}]}}"


def _ports(value: object) -> str | None:
    first = value[0] if isinstance(value, list) and value else value
    match = (
        re.fullmatch(r"(?:[0-9.]{7,15}:)?([0-9]{1,5}):([0-9]{1,5})(/(?:tcp|udp|sctp))?", first)
        if isinstance(first, str)
        else None
    )
    if match is None:
        return None
    protocol = f", protocol: {match[3][1:].upper()}" if match[3] else ""
    return f'"{first}" is spelled {{hostPort: {match[1]}, containerPort: {match[2]}{protocol}}} here'


_SHAPES: dict[str, Callable[[object], str | None]] = {
    "ports": _ports,
    "restart": _restart,
    "command": _command,
    "args": _command,
    "env": lambda value: _env(value) if isinstance(value, dict) else None,
    "volumes": _volumes,
    "ulimits": _ulimits,
    "sysctls": _sysctls,
    "logging": lambda value: "holds maxSize and maxFiles" if isinstance(value, str) else None,
}
_ITEMS: dict[str, Callable[[str], str]] = {
    "env": lambda value: _env([value]),
    "envFrom": lambda value: "write {configMapRef: {name: NAME}} or {secretRef: {name: NAME}}",
    "volumes": _volume,
    "volumeMounts": _volume,
    "imagePullSecrets": lambda value: f"write {{name: {value[:60]}}}",
    "ulimits": lambda value: _ulimits(dict(_pairs([value]))) or "write {name, soft, hard}",
    "sysctls": lambda value: 'write {name: %s, value: "%s"}' % (_pairs([value])[0] if "=" in value else ("NAME", "VALUE")),
    "hostAliases": _host_alias,
}

_ROOT = {
    "services": "this is a compose file: write one object of kind Container per service, its fields under spec",
    "version": "write apiVersion: setpoint.dev/v1alpha1",
    "name": "it belongs in metadata: metadata.name",
    "namespace": "it belongs in metadata: metadata.namespace",
    "labels": "it belongs in metadata: metadata.labels",
    "annotations": "it belongs in metadata: metadata.annotations",
    "container_name": "write metadata.name",
}
_METADATA = {
    "container_name": "write name",
    "label": "write labels",
    "annotation": "write annotations",
    "clusterName": "it has gone from Kubernetes: leave it out",
}
_NAMES = """image command args env envFrom workingDir volumes volumeMounts resources securityContext restartPolicy runState
hostname hostNetwork tty stdin ports restart"""
_SPEC_FIELDS = frozenset(_NAMES.split())


def _in_security(field: str) -> Callable[[object], str]:
    return lambda value: f"write securityContext: {{{field}: {_short(value)}}}"


def _limit(name: str, unit: bool = False) -> Callable[[object], str]:
    def hint(value: object) -> str:
        text = str(value) if isinstance(value, (str, int, float)) and not isinstance(value, bool) else ""
        if unit and (match := re.fullmatch(r"([0-9.]{1,12})\s*([kmgKMG])[iI]?[bB]?", text)):
            text = f"{match[1]}{match[2].upper()}i"
        return f"write resources: {{limits: {{{name}: {text[:20] or '...'}}}}}"

    return hint


def _user(value: object) -> str:
    user, _, group = str(value).partition(":")
    if user.isascii() and user.isdigit():
        tail = f", runAsGroup: {group}" if group.isascii() and group.isdigit() else ""
        return f"write securityContext: {{runAsUser: {user[:10]}{tail[:30]}}}"
    return f'write securityContext: {{user: "{str(value)[:60]}"}}'


def _namespace_mode(short: str, long: str) -> Callable[[object], str]:
    def hint(value: object) -> str:
        if isinstance(value, str) and value.startswith(("container:", "service:")):
            return f"write {short}From: {{container: {value.partition(':')[2][:60]}}}, which is {NOT_YET}"
        return f"write {long}: true" if value == "host" else f"only the node's can be chosen: {long}: true"

    return hint


def _network_mode(value: object) -> str:
    if value == "none":
        return "leave it out: a container has a network namespace of its own"
    return _namespace_mode("network", "hostNetwork")(value)


def _capabilities(field: str) -> Callable[[object], str]:
    def hint(value: object) -> str:
        names = (
            [each.upper().removeprefix("CAP_") for each in value if isinstance(each, str)] if isinstance(value, list) else []
        )
        return f"write securityContext: {{capabilities: {{{field}: [{', '.join(names)[:60]}]}}}}"

    return hint


def _grace(value: object) -> str:
    text = str(value).removesuffix("s")
    return f"write terminationGracePeriodSeconds: {text[:9] if text.isdigit() else 30}"


def _later(spelled: str) -> str:
    return f"it is spelled {spelled} here, and {NOT_YET}"


_POD = "a Container is one container: put its fields in spec itself, one object per container"
_WORDS_OF_KUBERNETES = "Setpoint has no such field of core/v1: leave it out"

_SPEC: dict[str, str | Callable[[object], str | None]] = {
    # compose and docker run
    "environment": _env,
    "env_file": "write envFrom: [{configMapRef: {name: NAME}}] after setpoint create configmap NAME --from-env-file FILE",
    "depends_on": _later("dependsOn: [{name, condition}]"),
    "links": _later("networks: [{name, aliases}]"),
    "healthcheck": _later("livenessProbe and readinessProbe"),
    "health_check": _later("livenessProbe and readinessProbe"),
    "expose": "leave it out: containers reach all ports of each other",
    "publish": _later("ports: [{hostPort, containerPort}]"),
    "network": _later("networks: [{name}]"),
    "mem_limit": _limit("memory", unit=True),
    "memory": _limit("memory", unit=True),
    "mem_reservation": "write resources: {requests: {memory: ...}}",
    "memswap_limit": "write resources: {linux: {memorySwap: ...}}",
    "cpus": _limit("cpu"),
    "cpu": _limit("cpu"),
    "cpu_shares": "write resources: {requests: {cpu: ...}}; 1024 shares are one cpu",
    "cpu_quota": "write resources: {limits: {cpu: ...}}",
    "cpuset": "write resources: {linux: {cpuset: ...}}",
    "cpuset_cpus": "write resources: {linux: {cpuset: ...}}",
    "pids_limit": _limit("pids"),
    "oom_score_adj": "write resources: {linux: {oomScoreAdj: ...}}",
    "limits": "it belongs in resources: resources.limits",
    "requests": "it belongs in resources: resources.requests",
    "shm_size": lambda value: f"write shmSize: {_short(value)}",
    "user": _user,
    "group_add": "write securityContext: {supplementalGroups: [...]}",
    "cap_add": _capabilities("add"),
    "cap_drop": _capabilities("drop"),
    "capabilities": "it belongs in securityContext: securityContext.capabilities",
    "privileged": _in_security("privileged"),
    "runAsUser": _in_security("runAsUser"),
    "runAsGroup": _in_security("runAsGroup"),
    "runAsNonRoot": _in_security("runAsNonRoot"),
    "readOnlyRootFilesystem": _in_security("readOnlyRootFilesystem"),
    "allowPrivilegeEscalation": _in_security("allowPrivilegeEscalation"),
    "seccompProfile": _in_security("seccompProfile"),
    "read_only": _in_security("readOnlyRootFilesystem"),
    "readOnly": _in_security("readOnlyRootFilesystem"),
    "security_opt": "write securityContext: {allowPrivilegeEscalation: false} or {seccompProfile: {type: Unconfined}}",
    "network_mode": _network_mode,
    "pid": _namespace_mode("pid", "hostPID"),
    "ipc": _namespace_mode("ipc", "hostIPC"),
    "userns_mode": "write hostUsers: true, which is also the default",
    "container_name": lambda value: f"write metadata: {{name: {_short(value)}}}",
    "name": "it belongs in metadata: metadata.name",
    "labels": "it belongs in metadata: metadata.labels",
    "annotations": "it belongs in metadata: metadata.annotations",
    "entrypoint": lambda value: f"write command: {_short(value if isinstance(value, list) else _words(value))}",
    "cmd": "write args: [...]",
    "working_dir": lambda value: f"write workingDir: {_short(value)}",
    "workdir": lambda value: f"write workingDir: {_short(value)}",
    "stop_signal": lambda value: f"write stopSignal: {_short(value)}",
    "stop_grace_period": _grace,
    "stdin_open": "write stdin: true",
    "interactive": "write stdin: true",
    "restart_policy": lambda value: _restart(value) or "write restartPolicy",
    "pull_policy": "write imagePullPolicy: Always, IfNotPresent or Never",
    "extra_hosts": "write hostAliases: [{ip, hostnames: [NAME]}]",
    "dns": "write dnsConfig: {nameservers: [...]}",
    "dns_search": "write dnsConfig: {searches: [...]}",
    "dns_opt": "write dnsConfig: {options: [{name, value}]}",
    "tmpfs": "write volumes: [{name: tmp, emptyDir: {medium: Memory}}] and volumeMounts: [{name: tmp, mountPath: /tmp}]",
    "mounts": "write volumes and volumeMounts",
    "cgroup_parent": lambda value: f"write cgroupParent: {_short(value)}",
    "log_driver": "logs are always files: logging: {maxSize, maxFiles}",
    "log_opt": "logs are always files: logging: {maxSize, maxFiles}",
    "secrets": "write volumes: [{name: NAME, secret: {secretName: NAME}}] and volumeMounts",
    "configs": "write volumes: [{name: NAME, configMap: {name: NAME}}] and volumeMounts",
    "rm": "write autoRemove: true",
    "auto_remove": "write autoRemove: true",
    "deploy": "write resources and restartPolicy in spec; one Container is one replica",
    "replicas": "one Container is one replica: declare as many objects",
    "scale": "one Container is one replica: declare as many objects",
    "build": "Setpoint builds no images: name one in image",
    "platform": "leave it out: the image of the node's platform is taken",
    "gpus": _later('resources: {limits: {"nvidia.com/gpu": 1}}'),
    # Pods
    "containers": _POD,
    "initContainers": _POD,
    "ephemeralContainers": _POD,
    "template": _POD,
    "runtimeClassName": "write runtime: NAME",
    "priorityClassName": "write priority: a number",
    "shareProcessNamespace": _later("pidFrom: {container: NAME}"),
    "serviceAccountName": _WORDS_OF_KUBERNETES,
    "serviceAccount": _WORDS_OF_KUBERNETES,
    "automountServiceAccountToken": _WORDS_OF_KUBERNETES,
    "affinity": _WORDS_OF_KUBERNETES,
    "topologySpreadConstraints": _WORDS_OF_KUBERNETES,
    "schedulerName": _WORDS_OF_KUBERNETES,
    "enableServiceLinks": _WORDS_OF_KUBERNETES,
    "activeDeadlineSeconds": _WORDS_OF_KUBERNETES,
    "subdomain": _WORDS_OF_KUBERNETES,
    "setHostnameAsFQDN": _WORDS_OF_KUBERNETES,
    "terminationMessagePath": _WORDS_OF_KUBERNETES,
    "terminationMessagePolicy": _WORDS_OF_KUBERNETES,
    "volumeDevices": _WORDS_OF_KUBERNETES,
    "resizePolicy": _WORDS_OF_KUBERNETES,
}


def _words(value: object) -> list[str]:
    try:
        return shlex.split(str(value)[:200])
    except ValueError:
        return ["..."]


_BELOW = {
    ("securityContext", "sysctls"): "it is in one place: spec.sysctls",
    ("securityContext", "windowsOptions"): "Setpoint runs on Linux only",
    ("securityContext", "cap_add"): "write capabilities: {add: [...]}",
    ("securityContext", "cap_drop"): "write capabilities: {drop: [...]}",
    ("securityContext", "readOnly"): "write readOnlyRootFilesystem",
    ("securityContext", "noNewPrivileges"): "write allowPrivilegeEscalation: false",
    ("secret", "name"): "write secretName",
    ("configMap", "configMapName"): "write name",
    ("secretRef", "secretName"): "write name",
    ("secretKeyRef", "secretName"): "write name",
    ("logging", "driver"): "logs are always files: maxSize and maxFiles",
    ("logging", "options"): "logs are always files: maxSize and maxFiles",
    ("updateStrategy", "rollingUpdate"): "it belongs to a ContainerSet: leave it out",
    ("volumes", "persistentVolumeClaim"): _later("volume: {name}"),
    ("volumes", "nfs"): _later("volume: {name}"),
    ("volumes", "tmpfs"): "write emptyDir: {medium: Memory}",
    ("volumes", "bind"): "write hostPath: {path: ...}",
    ("volumes", "path"): "write hostPath: {path: ...}",
    ("volumes", "mountPath"): "it belongs in volumeMounts",
    ("volumeMounts", "path"): "write mountPath",
    ("volumeMounts", "target"): "write mountPath",
    ("volumeMounts", "source"): "the source is a volume: name it in volumes, and write name here",
    ("restart", "policy"): "write spec.restartPolicy",
    ("resources", "memory"): "it belongs in limits: resources.limits.memory",
    ("resources", "cpu"): "it belongs in limits: resources.limits.cpu",
    ("resources", "reservations"): "write requests",
}


def _resource(section: str, word: str) -> str | None:
    if "/" in word or word.startswith("hugepages-"):
        return NOT_YET
    if section == "requests" and word == "pids":
        return "only a limit: resources.limits.pids"
    if word in ("cpus", "mem", "pids_limit"):
        return {"cpus": "write cpu", "mem": "write memory"}.get(word, "write pids")
    return None


_SECURITY_FIELDS = frozenset({"privileged", "runAsUser", "runAsGroup", "readOnlyRootFilesystem", "allowPrivilegeEscalation"})


def _misplaced(word: str) -> str | None:
    return f"it belongs in spec.securityContext.{word}" if word in _SECURITY_FIELDS else None
