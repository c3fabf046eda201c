"""Container: one process tree and its sandbox.

``Container.model_validate(obj)`` reads a stored object with every default filled, those inside list items too.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from state import references
from state.errors import Invalid
from state.resources.environment import EnvFromSource, EnvVar
from state.resources.fields import (
    CONDITIONAL,
    AbsolutePath,
    Items,
    Label,
    Later,
    Model,
    Subdomain,
    keyed,
    later,
    whole,
    wrong,
)
from state.resources.limits import Resources, Sysctl, Ulimit
from state.resources.meta import ObjectMeta
from state.resources.mounts import Volume, VolumeMount
from state.resources.quantity import Quantity
from state.resources.running import (
    CgroupParent,
    DnsConfig,
    HostAlias,
    HostUsers,
    ImagePullSecret,
    Int32,
    Logging,
    Restart,
    RestartPolicy,
    RunState,
    RuntimeName,
    ShmSize,
    StopSignal,
    UpdateStrategy,
)
from state.resources.security import SecurityContext


def _image(value: str) -> str:
    try:
        references.parse(value)
    except Invalid as exc:
        raise wrong(exc.message.removeprefix(f"image {value!r}").removeprefix(":").strip()) from None
    return value


def _dns_policy(value: object) -> object:
    if value in ("ClusterFirst", "ClusterFirstWithHostNet"):
        raise wrong(str(value), "SetpointNotYet")
    return value


ImageName = Annotated[str, AfterValidator(_image)]


class ContainerSpec(Model):
    """What should run, and how. A field that core/v1 has is spelled, shaped and defaulted as there."""

    # The process
    image: ImageName = Field(
        description="Image: NAME, NAME:TAG or NAME@DIGEST. Short names are docker.io/library/NAME, no tag is latest. The "
        "digest is found when a revision is made and kept over restarts."
    )
    image_pull_policy: Literal["Always", "IfNotPresent", "Never"] = Field(
        "IfNotPresent",
        description="When the image is fetched. Default: Always for the tag latest, else IfNotPresent.",
        json_schema_extra=CONDITIONAL,
    )
    image_pull_secrets: Items[ImagePullSecret] = Field(
        (), description="Credentials of registries. Default: none.", json_schema_extra=keyed("name")
    )
    command: Items[str] = Field(
        (), description="The program and its first arguments (Docker's ENTRYPOINT); $(VAR) is expanded. Default: the image's."
    )
    args: Items[str] = Field(
        (), description="Arguments (Docker's CMD); $(VAR) is expanded. Default: the image's, unless command is given."
    )
    env: Items[EnvVar] = Field(
        (), description="Environment variables, over the image's. Default: none.", json_schema_extra=keyed("name")
    )
    env_from: Items[EnvFromSource] = Field((), description="Variables from whole ConfigMaps and Secrets. Default: none.")
    working_dir: AbsolutePath | None = Field(
        None, description="Folder in which the program starts; made if missing. Default: the image's, else /."
    )
    tty: bool = Field(False, description="The process gets a terminal. Default: false.")
    stdin: bool = Field(False, description="Standard input stays open for attach. Default: false.")
    stdin_once: Later = later("Close standard input after the first attach.")
    init: bool = Field(False, description="A small init runs as process 1 and reaps orphans. Default: false.")
    security_context: SecurityContext | None = Field(
        None, description="What the process may do. Default: the defaults of its fields."
    )
    resources: Resources | None = Field(None, description="What it may use. Default: no limit but pids.")
    ulimits: Items[Ulimit] = Field(
        (), description="Limits of the process (setrlimit). Default: the runtime's.", json_schema_extra=keyed("name")
    )
    sysctls: Items[Sysctl] = Field(
        (), description="Kernel parameters of its namespaces. Default: none.", json_schema_extra=keyed("name")
    )
    # Files
    volumes: Items[Volume] = Field((), description="Volumes. Default: none.", json_schema_extra=keyed("name"))
    volume_mounts: Items[VolumeMount] = Field(
        (), description="Where volumes appear. Default: nowhere.", json_schema_extra=keyed("mountPath")
    )
    shm_size: ShmSize = Field(
        Quantity("64Mi", 64 * 1024**2 * 10**9), description="Bytes of /dev/shm, 4Ki to 16Ti. Default: 64Mi."
    )
    devices: Later = later("Devices of the node.")
    cdi_devices: Later = later("CDI devices.")
    # Life
    run_state: RunState = Field(
        "Running", description="Running, Stopped or Paused; wins over every policy, restart and reboot. Default: Running."
    )
    restart_policy: RestartPolicy = Field(
        "Always",
        description="Always (UnlessStopped is the same), OnFailure, Never. Default: Always; Never with autoRemove.",
        json_schema_extra=CONDITIONAL,
    )
    restart: Restart = Field(default_factory=Restart, description="How restarts are paced and counted.")
    auto_remove: bool = Field(False, description="The object is deleted when the process has ended. Default: false.")
    update_strategy: UpdateStrategy = Field(
        default_factory=UpdateStrategy, description="How a change that needs a new container is carried out."
    )
    termination_grace_period_seconds: Annotated[int, *whole(-1)] = Field(
        30, description="Seconds between the stop signal and SIGKILL; -1 waits for ever. Default: 30."
    )
    stop_signal: StopSignal | None = Field(
        None, description="Signal that asks the process to end, such as SIGTERM. Default: the image's, else SIGTERM."
    )
    priority: Int32 = Field(0, description="Higher ones start first after a boot. Default: 0.")
    depends_on: Later = later("What must be started, healthy or completed first.")
    startup_probe: Later = later("Tells when the start is done.")
    readiness_probe: Later = later("Tells when it is ready.")
    liveness_probe: Later = later("Tells whether it still works.")
    lifecycle: Later = later("Hooks after the start and before the stop.")
    # Names and networks
    hostname: Label | None = Field(None, description="Host name. Default: metadata.name; the node's with hostNetwork.")
    host_network: bool = Field(False, description="Uses the node's network. Default: false: a network namespace of its own.")
    host_pid: bool = Field(False, alias="hostPID", description="Sees the node's processes. Default: false.")
    host_ipc: bool = Field(False, alias="hostIPC", description="Uses the node's IPC namespace and /dev/shm. Default: false.")
    host_users: HostUsers | None = Field(
        None, description="True: the node's user namespace, which is also the default; false is not supported yet."
    )
    dns_policy: Annotated[Literal["Default", "None"], BeforeValidator(_dns_policy)] = Field(
        "Default",
        description="Default: resolv.conf is the node's and dnsConfig's. "
        "None: dnsConfig's only. Default: Default, until networks bring names.",
        json_schema_extra=CONDITIONAL,
    )
    dns_config: DnsConfig | None = Field(None, description="What resolv.conf holds besides. Default: nothing.")
    host_aliases: Items[HostAlias] = Field(
        (), description="More lines of /etc/hosts. Default: none.", json_schema_extra=keyed("ip")
    )
    ports: Later = later("Ports published on the node.")
    networks: Later = later("Networks it is attached to.")
    network_from: Later = later("Joins another container's network.")
    pid_from: Later = later("Joins another container's process namespace.")
    ipc_from: Later = later("Joins another container's IPC namespace.")
    # The node
    node_name: Subdomain | None = Field(
        None, description="Node that runs it; set once. Default: this node when there is only one."
    )
    node_selector: Later = later("Labels that the node must have.")
    tolerations: Later = later("Taints that are borne.")
    runtime: RuntimeName = Field("runc", description="OCI runtime. Default: runc.")
    cgroup_parent: CgroupParent | None = Field(None, description="Parent of its cgroup. Default: one slice for all containers.")
    logging: Logging = Field(default_factory=Logging, description="Bounds of the log files.")

    @model_validator(mode="after")
    def _conditional_defaults(self) -> Self:
        # Defaults that follow another field are filled here and not stored: a stored one would outlive what it followed.
        given = self.model_fields_set
        if self.auto_remove and "restart_policy" not in given:
            self.__dict__["restart_policy"] = "Never"
        if "image_pull_policy" not in given and references.parse(self.image).tag == "latest":
            self.__dict__["image_pull_policy"] = "Always"
        return self


class Container(Model):
    """One process tree and its sandbox on one node."""

    api_version: Literal["setpoint.dev/v1alpha1"] = Field(description="setpoint.dev/v1alpha1.")
    kind: Literal["Container"] = Field(description="Container.")
    metadata: ObjectMeta = Field(description="Metadata.")
    spec: ContainerSpec = Field(description="What should be; written by people.")
    status: dict[str, Any] = Field(default={}, description="What was seen; written by controllers.")
