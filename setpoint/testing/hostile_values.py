"""Hostile values of a Container: of its process, its privileges, its volumes and its resources."""

from __future__ import annotations

from typing import Final

from setpoint.testing.hostile_cases import (
    Hostile,
    spec_case,
    with_limits,
    with_mount,
    with_security,
    with_volume,
)

_PROCESS = (
    spec_case("no image", "spec.image", "Required value", {"image": None}, {}),
    spec_case("image in capitals", "spec.image", "did you mean 'busybox'", {"image": "BusyBox"}, {"image": "busybox"}),
    spec_case("image with a scheme", "spec.image", "without 'https://'", {"image": "https://a.b/c"}, {"image": "a.b/c"}),
    spec_case(
        "image with a short digest", "spec.image", "no digest", {"image": "a@sha256:12"}, {"image": "a@sha256:" + "0" * 64}
    ),
    spec_case(
        "env value is a number",
        "spec.env[0].value",
        'write "8080" in quotes',
        {"env": [{"name": "A", "value": 8080}]},
        {"env": [{"name": "A", "value": "8080"}]},
    ),
    spec_case("env name with =", "spec.env[0].name", 'without "="', {"env": [{"name": "A=B"}]}, {"env": [{"name": "AB"}]}),
    spec_case(
        "env twice",
        "spec.env[1].name",
        "Duplicate value",
        {"env": [{"name": "A"}, {"name": "A"}]},
        {"env": [{"name": "A"}, {"name": "B"}]},
    ),
    spec_case(
        "env from two places",
        "spec.env[0].valueFrom",
        "only one source",
        {
            "env": [
                {
                    "name": "A",
                    "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}, "configMapKeyRef": {"name": "c", "key": "k"}},
                }
            ]
        },
        {"env": [{"name": "A", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}]},
    ),
    spec_case(
        "env value and source",
        "spec.env[0].valueFrom",
        "not together with value",
        {"env": [{"name": "A", "value": "x", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}]},
        {"env": [{"name": "A", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}]},
    ),
    spec_case(
        "not yet a signal at a change",
        "spec.env[0].valueFrom.secretKeyRef.onChange",
        "Signal is not supported yet",
        {"env": [{"name": "A", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k", "onChange": "Signal"}}}]},
        {"env": [{"name": "A", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k", "onChange": "None"}}}]},
    ),
    spec_case(
        "envFrom of nothing",
        "spec.envFrom[0]",
        "configMapRef or secretRef",
        {"envFrom": [{"prefix": "A_"}]},
        {"envFrom": [{"prefix": "A_", "secretRef": {"name": "s"}}]},
    ),
    spec_case("relative workingDir", "spec.workingDir", 'such as "/srv"', {"workingDir": "srv"}, {"workingDir": "/srv"}),
    spec_case(
        "stopSignal without SIG", "spec.stopSignal", 'write it "SIGTERM"', {"stopSignal": "term"}, {"stopSignal": "SIGTERM"}
    ),
    spec_case(
        "stopSignal unknown", "spec.stopSignal", "must be a signal", {"stopSignal": "SIGFOO"}, {"stopSignal": "SIGRTMIN+3"}
    ),
    spec_case(
        "grace as a text",
        "spec.terminationGracePeriodSeconds",
        "must be an integer",
        {"terminationGracePeriodSeconds": "30"},
        {"terminationGracePeriodSeconds": 30},
    ),
    spec_case(
        "negative grace",
        "spec.terminationGracePeriodSeconds",
        "from -1",
        {"terminationGracePeriodSeconds": -2},
        {"terminationGracePeriodSeconds": -1},
    ),
    spec_case("yes as a boolean", "spec.tty", "must be a boolean", {"tty": "yes"}, {"tty": True}),
    spec_case("long hostname", "spec.hostname", "at most 63", {"hostname": "a" * 64}, {"hostname": "a" * 63}),
    spec_case(
        "ulimit upside down",
        "spec.ulimits[0].soft",
        "at most hard",
        {"ulimits": [{"name": "nofile", "soft": 9, "hard": 8}]},
        {"ulimits": [{"name": "nofile", "soft": 8, "hard": 9}]},
    ),
    spec_case(
        "ulimit unknown",
        "spec.ulimits[0].name",
        'did you mean "nofile"',
        {"ulimits": [{"name": "no_file", "soft": 9}]},
        {"ulimits": [{"name": "nofile", "soft": 9}]},
    ),
    spec_case(
        "sysctl of the node",
        "spec.sysctls[0].name",
        "the whole node",
        {"sysctls": [{"name": "vm.swappiness", "value": "1"}]},
        {"sysctls": [{"name": "kernel.shmmax", "value": "1"}]},
    ),
    spec_case(
        "sysctl of the node's network",
        "spec.sysctls[0].name",
        "not together with hostNetwork",
        {"sysctls": [{"name": "net.core.somaxconn", "value": "9"}], "hostNetwork": True},
        {"sysctls": [{"name": "net.core.somaxconn", "value": "9"}]},
    ),
    spec_case(
        "no name server",
        "spec.dnsConfig.nameservers",
        "at least one",
        {"dnsPolicy": "None"},
        {"dnsPolicy": "None", "dnsConfig": {"nameservers": ["::1"]}},
    ),
    spec_case(
        "hosts line without address",
        "spec.hostAliases[0].ip",
        "IPv4 or IPv6",
        {"hostAliases": [{"ip": "10.0.0", "hostnames": ["a"]}]},
        {"hostAliases": [{"ip": "10.0.0.1", "hostnames": ["a"]}]},
    ),
    spec_case("cgroupParent climbs", "spec.cgroupParent", "must be a path", {"cgroupParent": "/../x"}, {"cgroupParent": "/x"}),
    spec_case(
        "no duration",
        "spec.restart.backoff.initial",
        'write "5s"',
        {"restart": {"backoff": {"initial": 5}}},
        {"restart": {"backoff": {"initial": "5s"}}},
    ),
    spec_case(
        "backoff upside down",
        "spec.restart.backoff.max",
        "below initial",
        {"restart": {"backoff": {"initial": "5s", "max": "1s"}}},
        {"restart": {"backoff": {"initial": "1s", "max": "5s"}}},
    ),
    spec_case(
        "budget without span",
        "spec.restart.crashBudget.within",
        "Required value",
        {"restart": {"crashBudget": {"crashes": 3}}},
        {"restart": {"crashBudget": {"crashes": 3, "within": "1m"}}},
    ),
    spec_case(
        "autoRemove against Always",
        "spec.autoRemove",
        "restartPolicy: Always",
        {"autoRemove": True, "restartPolicy": "Always"},
        {"autoRemove": True},
    ),
    spec_case("no log file", "spec.logging.maxFiles", "from 1", {"logging": {"maxFiles": 0}}, {"logging": {"maxFiles": 1}}),
)

_SECURITY = (
    spec_case(
        "user twice",
        "spec.securityContext.user",
        "not together with runAsUser",
        with_security(user="www", runAsUser=1),
        with_security(user="www"),
    ),
    spec_case(
        "capability with CAP_",
        "spec.securityContext.capabilities.add[0]",
        'write it "NET_RAW"',
        with_security(capabilities={"add": ["CAP_NET_RAW"]}),
        with_security(capabilities={"add": ["NET_RAW"]}),
    ),
    spec_case(
        "capability unknown",
        "spec.securityContext.capabilities.drop[0]",
        "no capability",
        with_security(capabilities={"drop": ["FLY"]}),
        with_security(capabilities={"drop": ["ALL"]}),
    ),
    spec_case(
        "root that is not root",
        "spec.securityContext.runAsNonRoot",
        "is root",
        with_security(runAsNonRoot=True, runAsUser=0),
        with_security(runAsNonRoot=True, runAsUser=1),
    ),
    spec_case(
        "privileged but not escalating",
        "spec.securityContext.allowPrivilegeEscalation",
        "privileged",
        with_security(privileged=True, allowPrivilegeEscalation=False),
        with_security(allowPrivilegeEscalation=False),
    ),
    spec_case(
        "negative user", "spec.securityContext.runAsUser", "from 0", with_security(runAsUser=-1), with_security(runAsUser=0)
    ),
    spec_case(
        "sysctls of a Pod",
        "spec.securityContext.sysctls",
        "spec.sysctls",
        with_security(sysctls=[]),
        with_security(),
        "BadRequest",
    ),
)

_VOLUMES = (
    spec_case("mount of no volume", "spec.volumeMounts[0].name", "there are: data", with_mount(name="date"), with_mount()),
    spec_case(
        "relative mount", "spec.volumeMounts[0].mountPath", 'such as "/data"', with_mount(mountPath="data"), with_mount()
    ),
    spec_case(
        "mount that climbs",
        "spec.volumeMounts[0].mountPath",
        '".."',
        with_mount(mountPath="/a/../../etc"),
        with_mount(mountPath="/a/etc"),
    ),
    spec_case(
        "mount over the root",
        "spec.volumeMounts[0].mountPath",
        "cannot be mounted over",
        with_mount(mountPath="/"),
        with_mount(mountPath="/a"),
    ),
    spec_case(
        "mount with a colon",
        "spec.volumeMounts[0].mountPath",
        'must not contain ":"',
        with_mount(mountPath="/a:/b"),
        with_mount(mountPath="/a"),
    ),
    spec_case(
        "subPath that climbs",
        "spec.volumeMounts[0].subPath",
        '".."',
        with_mount(subPath="../../etc"),
        with_mount(subPath="etc"),
    ),
    spec_case(
        "absolute subPath", "spec.volumeMounts[0].subPath", "relative", with_mount(subPath="/etc"), with_mount(subPath="etc")
    ),
    spec_case(
        "propagation without privilege",
        "spec.volumeMounts[0].mountPropagation",
        "privileged",
        with_mount(mountPropagation="Bidirectional"),
        with_mount(mountPropagation="HostToContainer"),
    ),
    spec_case(
        "mount path twice",
        "spec.volumeMounts[1].mountPath",
        "Duplicate value",
        {
            "volumes": [{"name": "a", "emptyDir": {}}],
            "volumeMounts": [{"name": "a", "mountPath": "/a"}, {"name": "a", "mountPath": "/a/"}],
        },
        {
            "volumes": [{"name": "a", "emptyDir": {}}],
            "volumeMounts": [{"name": "a", "mountPath": "/a"}, {"name": "a", "mountPath": "/a/b"}],
        },
    ),
    spec_case(
        "volume twice",
        "spec.volumes[1].name",
        "Duplicate value",
        {"volumes": [{"name": "a", "emptyDir": {}}, {"name": "a", "emptyDir": {}}]},
        {"volumes": [{"name": "a", "emptyDir": {}}, {"name": "b", "emptyDir": {}}]},
    ),
    spec_case("volume of nothing", "spec.volumes[0]", "emptyDir: {}", with_volume({}), with_volume({"emptyDir": {}})),
    spec_case(
        "volume of two",
        "spec.volumes[0]",
        "only one source",
        with_volume({"emptyDir": {}, "secret": {"secretName": "s"}}),
        with_volume({"secret": {"secretName": "s"}}),
    ),
    spec_case(
        "relative hostPath",
        "spec.volumes[0].hostPath.path",
        'such as "/srv"',
        with_volume({"hostPath": {"path": "./srv"}}),
        with_volume({"hostPath": {"path": "/srv"}}),
    ),
    spec_case(
        "hostPath that climbs",
        "spec.volumes[0].hostPath.path",
        '".."',
        with_volume({"hostPath": {"path": "/srv/../etc"}}),
        with_volume({"hostPath": {"path": "/etc"}}),
    ),
    spec_case(
        "mode in decimal",
        "spec.volumes[0].secret.defaultMode",
        "did you mean 0644",
        with_volume({"secret": {"secretName": "s", "defaultMode": 644}}),
        with_volume({"secret": {"secretName": "s", "defaultMode": 420}}),
    ),
    spec_case(
        "item that climbs",
        "spec.volumes[0].configMap.items[0].path",
        '".."',
        with_volume({"configMap": {"name": "c", "items": [{"key": "k", "path": "../k"}]}}),
        with_volume({"configMap": {"name": "c", "items": [{"key": "k", "path": "k"}]}}),
    ),
    spec_case(
        "secret by name",
        "spec.volumes[0].secret.name",
        "write secretName",
        with_volume({"secret": {"secretName": "s", "name": "s"}}),
        with_volume({"secret": {"secretName": "s"}}),
        "BadRequest",
    ),
)

_RESOURCES = (
    spec_case(
        "memory in bytes",
        "spec.resources.limits.memory",
        'did you mean "512Mi"',
        with_limits(memory=512),
        with_limits(memory="512Mi"),
    ),
    spec_case(
        "memory in millibytes",
        "spec.resources.limits.memory",
        'did you mean "512Mi"',
        with_limits(memory="512m"),
        with_limits(memory="512M"),
    ),
    spec_case(
        "memory in MB",
        "spec.resources.limits.memory",
        'did you mean "64Mi"',
        with_limits(memory="64MB"),
        with_limits(memory="64Mi"),
    ),
    spec_case("no memory", "spec.resources.limits.memory", "more than zero", with_limits(memory=0), with_limits(memory="6Mi")),
    spec_case("negative cpu", "spec.resources.limits.cpu", "more than zero", with_limits(cpu="-1"), with_limits(cpu="1")),
    spec_case("fine cpu", "spec.resources.limits.cpu", "1m", with_limits(cpu="0.0001"), with_limits(cpu="0.001")),
    spec_case("half a process", "spec.resources.limits.pids", "whole number", with_limits(pids="1.5"), with_limits(pids="2")),
    spec_case(
        "request above limit",
        "spec.resources.requests.memory",
        "at most the limit",
        {"resources": {"limits": {"memory": "64Mi"}, "requests": {"memory": "65Mi"}}},
        {"resources": {"limits": {"memory": "64Mi"}, "requests": {"memory": "64Mi"}}},
    ),
    spec_case(
        "swap below memory",
        "spec.resources.linux.memorySwap",
        "at least limits.memory",
        {"resources": {"limits": {"memory": "64Mi"}, "linux": {"memorySwap": "32Mi"}}},
        {"resources": {"limits": {"memory": "64Mi"}, "linux": {"memorySwap": "64Mi"}}},
    ),
    spec_case(
        "cpuset upside down",
        "spec.resources.linux.cpuset",
        'such as "0-3,6"',
        {"resources": {"linux": {"cpuset": "3-0"}}},
        {"resources": {"linux": {"cpuset": "0-3"}}},
    ),
    spec_case(
        "score beyond",
        "spec.resources.linux.oomScoreAdj",
        "from -1000",
        {"resources": {"linux": {"oomScoreAdj": 1001}}},
        {"resources": {"linux": {"oomScoreAdj": 1000}}},
    ),
    spec_case(
        "ready after the deadline",
        "spec.updateStrategy.minReadySeconds",
        "below progressDeadlineSeconds",
        {"updateStrategy": {"minReadySeconds": 600}},
        {"updateStrategy": {"minReadySeconds": 599}},
    ),
    spec_case(
        "mount in /proc",
        "spec.volumeMounts[0].mountPath",
        "refuses mounts in /proc",
        {"volumes": [{"name": "v", "emptyDir": {}}], "volumeMounts": [{"name": "v", "mountPath": "/proc//sys"}]},
        {"volumes": [{"name": "v", "emptyDir": {}}], "volumeMounts": [{"name": "v", "mountPath": "/proc/uptime"}]},
    ),
    spec_case("shm of nothing", "spec.shmSize", "from 4Ki", {"shmSize": "0"}, {"shmSize": "4Ki"}),
)

VALUES: Final[tuple[Hostile, ...]] = (*_PROCESS, *_SECURITY, *_VOLUMES, *_RESOURCES)
