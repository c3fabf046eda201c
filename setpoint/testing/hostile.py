"""Declarations that must be refused, each with the error it must get and a benign twin that must be accepted.

Plain data: unit tests hold :func:`state.resources.admission.admit` to it, tests of the API send it over the socket and look
that nothing changed. A twin is one edit away from its hostile sibling.
"""

from __future__ import annotations

from typing import Any, Final

from setpoint.testing.hostile_cases import (
    CONTAINER,
    Hostile,
    HostileText,
    container,
    data_object,
    foreign_word,
    meta_case,
    not_yet,
    spec_case,
    with_limits,
    with_security,
    with_volume,
)
from setpoint.testing.hostile_values import VALUES

_DEEP: Any = "bottom"
for _ in range(100):
    _DEEP = {"a": _DEEP}

_OBJECT = (
    Hostile("no kind", {**container(), "kind": None}, container(), "kind", "Required value", "BadRequest"),
    Hostile("no apiVersion", {**container(), "apiVersion": None}, container(), "apiVersion", CONTAINER, "BadRequest"),
    Hostile("unknown kind", {**container(), "kind": "Contaner"}, container(), "kind", "supported values", "BadRequest"),
    Hostile("kind in lower case", {**container(), "kind": "container"}, container(), "kind", '"Container"', "BadRequest"),
    Hostile("kind of a Pod", {**container(), "kind": "Pod"}, container(), "kind", "write kind: Container", "BadRequest"),
    Hostile("kind not yet", {**container(), "kind": "Network"}, container(), "kind", "not supported yet", "BadRequest"),
    Hostile("wrong apiVersion", {**container(), "apiVersion": "v1"}, container(), "apiVersion", CONTAINER, "BadRequest"),
    Hostile("spec is a list", {**container(), "spec": []}, container(), "spec", "must be an object, not a list"),
    Hostile("no spec", {**container(), "spec": None}, container(), "spec", "Required value"),
    Hostile(
        "field at the root",
        {**container(), "restartPolicy": "Never"},
        container(restartPolicy="Never"),
        "restartPolicy",
        "belongs in spec",
        "BadRequest",
    ),
    Hostile("too deep", container(env=_DEEP), container(env=[]), "spec.env.a.a.a.a.a", "nested deeper", "BadRequest"),
    Hostile("NaN", container(priority=float("nan")), container(priority=1), "spec.priority", "no JSON number", "BadRequest"),
    Hostile("beyond 64 bits", container(priority=2**70), container(priority=7), "spec.priority", "64 bits", "BadRequest"),
    Hostile("NUL", container(command=["a\0b"]), container(command=["ab"]), "spec.command[0]", "NUL", "BadRequest"),
    Hostile(
        "not UTF-8", container(command=["\ud800"]), container(command=["\u00e9"]), "spec.command[0]", "UTF-8", "BadRequest"
    ),
)

_METADATA = (
    meta_case("underscore in the name", "metadata.name", 'such as "my-app"', {"name": "my_app"}, {"name": "my-app"}),
    meta_case("capital in the name", "metadata.name", 'such as "web"', {"name": "Web"}, {"name": "web"}),
    meta_case("dot in the name", "metadata.name", 'such as "a-b"', {"name": "a.b"}, {"name": "a-b"}),
    meta_case("long name", "metadata.name", "at most 63", {"name": "a" * 64}, {"name": "a" * 63}),
    meta_case("empty name", "metadata.name", "Required value", {"name": ""}, {"name": "a"}),
    meta_case("path as namespace", "metadata.namespace", "must be lower-case", {"namespace": "../etc"}, {"namespace": "etc"}),
    meta_case("label key", "metadata.labels", '"a b"', {"labels": {"a b": "c"}}, {"labels": {"a-b": "c"}}),
    meta_case(
        "label value", "metadata.labels[app]", "at most 63", {"labels": {"app": "x" * 64}}, {"labels": {"app": "x" * 63}}
    ),
    meta_case("label is a number", "metadata.labels.v", 'write "1" in quotes', {"labels": {"v": 1}}, {"labels": {"v": "1"}}),
    meta_case(
        "annotations too long",
        "metadata.annotations",
        "at most 262144",
        {"annotations": {"a": "x" * 262144}},
        {"annotations": {"a": "x" * 262143}},
    ),
    meta_case(
        "hold until some day",
        "metadata.annotations[setpoint.dev/hold]",
        'must be "true"',
        {"annotations": {"setpoint.dev/hold": "tomorrow"}},
        {"annotations": {"setpoint.dev/hold": "2030-01-01T00:00:00Z"}},
    ),
    meta_case(
        "finalizer without domain",
        "metadata.finalizers[0]",
        "must have a domain",
        {"finalizers": ["x"]},
        {"finalizers": ["example.com/x"]},
    ),
    meta_case(
        "owner without uid",
        "metadata.ownerReferences[0].uid",
        "Required value",
        {"ownerReferences": [{"apiVersion": "v1", "kind": "Node", "name": "a"}]},
        {"ownerReferences": [{"apiVersion": "v1", "kind": "Node", "name": "a", "uid": "u"}]},
    ),
)

_FOREIGN = (
    spec_case(
        "restart: always", "spec.restart", "write restartPolicy: Always", {"restart": "always"}, {"restartPolicy": "Always"}
    ),
    spec_case(
        "restart: on-failure:3", "spec.restart", "maxRetries: 3", {"restart": "on-failure:3"}, {"restart": {"maxRetries": 3}}
    ),
    spec_case("restart: no", "spec.restart", "restartPolicy: Never", {"restart": False}, {"restartPolicy": "Never"}),
    spec_case(
        "policy in lower case",
        "spec.restartPolicy",
        'did you mean "UnlessStopped"',
        {"restartPolicy": "unless-stopped"},
        {"restartPolicy": "UnlessStopped"},
    ),
    spec_case("command is a text", "spec.command", 'write ["sleep", "9"]', {"command": "sleep 9"}, {"command": ["sleep", "9"]}),
    spec_case(
        "command is a script", "spec.command", 'write ["sh", "-c", ', {"command": "a && b"}, {"command": ["sh", "-c", "a && b"]}
    ),
    spec_case("env is a map", "spec.env", "write env: [{name: A", {"env": {"A": "b"}}, {"env": [{"name": "A", "value": "b"}]}),
    spec_case(
        "env is NAME=value", "spec.env[0]", "write env: [{name: A", {"env": ["A=b"]}, {"env": [{"name": "A", "value": "b"}]}
    ),
    spec_case(
        "volume is a text",
        "spec.volumes[0]",
        "hostPath: {path: /srv}",
        {"volumes": ["/srv:/data"]},
        {"volumes": [{"name": "srv", "hostPath": {"path": "/srv"}}]},
    ),
    spec_case("ports are texts", "spec.ports", "hostPort: 8080, containerPort: 80", {"ports": ["8080:80"]}, {}),
    spec_case(
        "ulimits is a map",
        "spec.ulimits",
        "write [{name: nofile",
        {"ulimits": {"nofile": 64}},
        {"ulimits": [{"name": "nofile", "soft": 64, "hard": 64}]},
    ),
    spec_case(
        "sysctls is a map",
        "spec.sysctls",
        "write [{name: net.core.somaxconn",
        {"sysctls": {"net.core.somaxconn": 9}},
        {"sysctls": [{"name": "net.core.somaxconn", "value": "9"}]},
    ),
    foreign_word("environment", {"A": 1}, 'write env: [{name: A, value: "1"}]', {"env": [{"name": "A", "value": "1"}]}),
    foreign_word("mem_limit", "512m", "limits: {memory: 512Mi}", with_limits(memory="512Mi")),
    foreign_word("cpus", 1.5, "limits: {cpu: 1.5}", with_limits(cpu=1.5)),
    foreign_word("user", "1000:100", "runAsUser: 1000, runAsGroup: 100", with_security(runAsUser=1000, runAsGroup=100)),
    foreign_word(
        "cap_add", ["CAP_SYS_TIME"], "capabilities: {add: [SYS_TIME]}", with_security(capabilities={"add": ["SYS_TIME"]})
    ),
    foreign_word("privileged", True, "securityContext: {privileged: true}", with_security(privileged=True)),
    foreign_word("network_mode", "host", "write hostNetwork: true", {"hostNetwork": True}),
    foreign_word("pid", "host", "write hostPID: true", {"hostPID": True}),
    foreign_word("healthcheck", {"test": "true"}, "livenessProbe", {}),
    foreign_word("depends_on", ["db"], "dependsOn", {}),
    foreign_word("container_name", "web", "write metadata: {name", {}),
    foreign_word("entrypoint", "sh -c x", 'write command: ["sh", "-c", "x"]', {"command": ["sh", "-c", "x"]}),
    foreign_word("working_dir", "/srv", "write workingDir", {"workingDir": "/srv"}),
    foreign_word("stop_grace_period", "20s", "terminationGracePeriodSeconds: 20", {"terminationGracePeriodSeconds": 20}),
    foreign_word("read_only", True, "readOnlyRootFilesystem: true", with_security(readOnlyRootFilesystem=True)),
    foreign_word("shm_size", "1g", "write shmSize", {"shmSize": "1Gi"}),
    foreign_word("extra_hosts", ["a:10.0.0.1"], "hostAliases", {"hostAliases": [{"ip": "10.0.0.1", "hostnames": ["a"]}]}),
    foreign_word("stdin_open", True, "write stdin: true", {"stdin": True}),
    foreign_word("containers", [], "one object per container", {}),
    foreign_word("imagePullpolicy", "Never", 'did you mean "imagePullPolicy"', {"imagePullPolicy": "Never"}),
    foreign_word("host_network", True, 'did you mean "hostNetwork"', {"hostNetwork": True}),
)

_LATER = (
    *(
        not_yet(name, value)
        for name, value in (
            ("ports", [{"containerPort": 80}]),
            ("networks", [{"name": "a"}]),
            ("networkFrom", {"container": "a"}),
            ("pidFrom", {"container": "a"}),
            ("ipcFrom", {"container": "a"}),
            ("startupProbe", {}),
            ("readinessProbe", {}),
            ("livenessProbe", {"exec": {"command": ["true"]}}),
            ("lifecycle", {}),
            ("dependsOn", []),
            ("devices", [{"hostPath": "/dev/fuse"}]),
            ("cdiDevices", ["v/c=1"]),
            ("nodeSelector", {"a": "b"}),
            ("tolerations", []),
            ("hostUsers", False),
            ("dnsPolicy", "ClusterFirst"),
        )
    ),
    spec_case(
        "not yet StartFirst",
        "spec.updateStrategy.type",
        "not supported yet",
        {"updateStrategy": {"type": "StartFirst"}},
        {"updateStrategy": {"type": "StopFirst"}},
    ),
    spec_case(
        "not yet Volume",
        "spec.volumes[0].volume",
        "not supported yet",
        with_volume({"volume": {"name": "a"}}),
        with_volume({"emptyDir": {}}),
    ),
    spec_case(
        "not yet from",
        "spec.volumes[0].from",
        "not supported yet",
        with_volume({"from": {"container": "a"}}),
        with_volume({"emptyDir": {}}),
    ),
    spec_case(
        "not yet projected",
        "spec.volumes[0].projected",
        "not supported yet",
        with_volume({"projected": {}}),
        with_volume({"emptyDir": {}}),
    ),
    spec_case(
        "not yet a GPU",
        "spec.resources.limits[nvidia.com/gpu]",
        "not supported yet",
        with_limits(**{"nvidia.com/gpu": 1}),
        with_limits(cpu=1),
    ),
    spec_case(
        "not yet fieldRef",
        "spec.env[0].valueFrom.fieldRef",
        "not supported yet",
        {"env": [{"name": "A", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}]},
        {"env": [{"name": "A"}]},
    ),
    spec_case(
        "not yet Localhost seccomp",
        "spec.securityContext.seccompProfile.type",
        "not supported yet",
        with_security(seccompProfile={"type": "Localhost"}),
        with_security(seccompProfile={"type": "Unconfined"}),
    ),
    spec_case(
        "not yet a mount point",
        "spec.volumes[0].hostPath.requireMountPoint",
        "not supported yet",
        with_volume({"hostPath": {"path": "/srv", "requireMountPoint": True}}),
        with_volume({"hostPath": {"path": "/srv", "type": "DirectoryOrCreate"}}),
    ),
    spec_case(
        "not yet a sized folder",
        "spec.volumes[0].emptyDir.sizeLimit",
        "not supported yet",
        with_volume({"emptyDir": {"sizeLimit": "1Gi"}}),
        with_volume({"emptyDir": {"sizeLimit": "1Gi", "medium": "Memory"}}),
    ),
)

_DATA = (
    Hostile(
        "secret not base64",
        data_object("Secret", data={"a": "no base64!"}),
        data_object("Secret", data={"a": "bm8="}),
        "data.a",
        "must be base64",
    ),
    Hostile(
        "secret too big",
        data_object("Secret", stringData={"a": "x" * (1 << 20) + "x"}),
        data_object("Secret", stringData={"a": "x" * (1 << 20)}),
        "data",
        "at most 1048576",
    ),
    Hostile(
        "secret value is a number",
        data_object("Secret", stringData={"pin": 1234}),
        data_object("Secret", stringData={"pin": "1234"}),
        "stringData.pin",
        "in quotes",
    ),
    Hostile(
        "registry secret without auths",
        data_object("Secret", type="kubernetes.io/dockerconfigjson", stringData={".dockerconfigjson": "{}"}),
        data_object("Secret", type="kubernetes.io/dockerconfigjson", stringData={".dockerconfigjson": '{"auths": {}}'}),
        "data[.dockerconfigjson]",
        "auths",
    ),
    Hostile(
        "tls secret without key",
        data_object("Secret", type="kubernetes.io/tls", stringData={"tls.crt": "c"}),
        data_object("Secret", type="kubernetes.io/tls", stringData={"tls.crt": "c", "tls.key": "k"}),
        "data[tls.key]",
        "Required value",
    ),
    Hostile(
        "key that climbs",
        data_object("ConfigMap", data={"../a": "b"}),
        data_object("ConfigMap", data={"a": "b"}),
        "data[../a]",
        'not begin with ".."',
    ),
    Hostile(
        "key twice",
        data_object("ConfigMap", data={"a": "b"}, binaryData={"a": "Yg=="}),
        data_object("ConfigMap", data={"a": "b"}, binaryData={"b": "Yg=="}),
        "binaryData[a]",
        "data has this key too",
    ),
    Hostile(
        "namespace in a namespace",
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "a", "namespace": "b"}},
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "a"}},
        "metadata.namespace",
        "belongs to no namespace",
    ),
    Hostile(
        "rate of nothing",
        {"apiVersion": CONTAINER, "kind": "Node", "metadata": {"name": "n"}, "spec": {"startBudget": "4"}},
        {"apiVersion": CONTAINER, "kind": "Node", "metadata": {"name": "n"}, "spec": {"startBudget": "4/s"}},
        "spec.startBudget",
        "must be a rate",
    ),
    Hostile(
        "pull secret without namespace",
        {"apiVersion": CONTAINER, "kind": "Image", "metadata": {"name": "i"}, "spec": {"reference": "a", "pullSecrets": ["s"]}},
        {
            "apiVersion": CONTAINER,
            "kind": "Image",
            "metadata": {"name": "i"},
            "spec": {"reference": "a", "pullSecrets": ["d/s"]},
        },
        "spec.pullSecrets[0]",
        '"default/s"',
    ),
    Hostile(
        "image policy not yet",
        {
            "apiVersion": CONTAINER,
            "kind": "Image",
            "metadata": {"name": "i"},
            "spec": {"reference": "a", "update": {"policy": "Semver"}},
        },
        {
            "apiVersion": CONTAINER,
            "kind": "Image",
            "metadata": {"name": "i"},
            "spec": {"reference": "a", "update": {"policy": "None"}},
        },
        "spec.update.policy",
        "not supported yet",
    ),
)

HOSTILE: Final[tuple[Hostile, ...]] = (*_OBJECT, *_METADATA, *_FOREIGN, *_LATER, *_DATA, *VALUES)

_GOOD_TEXT: Final = (
    b"apiVersion: setpoint.dev/v1alpha1\nkind: Container\nmetadata: {name: web, namespace: default}\nspec:\n  image: busybox\n"
)

TEXTS: Final[tuple[HostileText, ...]] = (
    HostileText("compose file", b"services:\n  web: {image: busybox}\n", _GOOD_TEXT, "compose file"),
    HostileText("key twice", _GOOD_TEXT + b"  image: alpine\n", _GOOD_TEXT, 'duplicate key "image"'),
    HostileText("tab", _GOOD_TEXT + b"\ttty: true\n", _GOOD_TEXT + b"  tty: true\n", "spaces, not tabs"),
    HostileText(
        "tag", _GOOD_TEXT + b"  tty: !!python/name:os.system\n", _GOOD_TEXT + b"  tty: !!bool true\n", "is not allowed"
    ),
    HostileText("own tag", _GOOD_TEXT + b"  tty: !env TTY\n", _GOOD_TEXT + b"  tty: yes\n", "is not allowed"),
    HostileText("not UTF-8", _GOOD_TEXT + b"# \xff\n", _GOOD_TEXT + b"# \xc3\xa9\n", "UTF-8"),
    HostileText("NUL", _GOOD_TEXT + b"# \x00\n", _GOOD_TEXT + b"# \n", "control characters"),
    HostileText("list of nothing", b"- a\n", _GOOD_TEXT, "an object has fields"),
    HostileText("empty", b"# nothing\n", _GOOD_TEXT, "no object"),
    HostileText("too deep", _GOOD_TEXT + b"  env: " + b"[" * 500 + b"]" * 500, _GOOD_TEXT + b"  env: []\n", "nested deeper"),
    HostileText(
        "billion laughs",
        b"a0: &a0 [x, x]\n"
        + b"".join(b"a%d: &a%d [*a%d, *a%d, *a%d, *a%d]\n" % (n, n, n - 1, n - 1, n - 1, n - 1) for n in range(1, 30)),
        b"x: &x {kind: Container}\n<<: *x\n",
        "aliases",
    ),
    HostileText("alias of itself", b"a: &a [*a]\n", b"a: &a [x]\nb: *a\n", "not defined before"),
    HostileText("unclosed", b"kind: 'Container\n", b"kind: 'Container'\n", "unexpected end"),
    HostileText("infinite", _GOOD_TEXT + b"  priority: .inf\n", _GOOD_TEXT + b"  priority: 1\n", "no JSON number"),
    HostileText(
        "endless number", _GOOD_TEXT + b"  priority: " + b"9" * 999 + b"\n", _GOOD_TEXT + b"  priority: 9\n", "64 bits"
    ),
    HostileText("JSON key twice", b'{"kind": "Container", "kind": "Secret"}', b'{"kind": "Container"}', "duplicate field"),
    HostileText("map as a key", b"{a: b}: c\n", b"a: c\n", "plain word"),
)


__all__ = ["HOSTILE", "TEXTS", "Hostile", "HostileText", "container", "data_object"]
