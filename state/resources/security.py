"""What the process may do: core/v1's Pod and container ``securityContext`` in one."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field

from state.resources.fields import LATER, SET, Items, Later, Model, later, whole, wrong

_NAMES = """CHOWN DAC_OVERRIDE DAC_READ_SEARCH FOWNER FSETID KILL SETGID SETUID SETPCAP LINUX_IMMUTABLE NET_BIND_SERVICE
NET_BROADCAST NET_ADMIN NET_RAW IPC_LOCK IPC_OWNER SYS_MODULE SYS_RAWIO SYS_CHROOT SYS_PTRACE SYS_PACCT SYS_ADMIN SYS_BOOT
SYS_NICE SYS_RESOURCE SYS_TIME SYS_TTY_CONFIG MKNOD LEASE AUDIT_WRITE AUDIT_CONTROL SETFCAP MAC_OVERRIDE MAC_ADMIN SYSLOG
WAKE_ALARM BLOCK_SUSPEND AUDIT_READ PERFMON BPF CHECKPOINT_RESTORE ALL"""
CAPABILITIES = frozenset(_NAMES.split())
"""capabilities(7), without ``CAP_``, and ``ALL``."""

_USER = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.@-]{0,255}\$?(:[A-Za-z0-9_][A-Za-z0-9_.@-]{0,255}\$?)?", re.ASCII)
_ID = whole(0, 2**31 - 1)


def _capability(value: str) -> str:
    if value in CAPABILITIES:
        return value
    plain = value.upper().removeprefix("CAP_")
    if plain in CAPABILITIES:
        raise wrong(f'write it "{plain}"')
    raise wrong("is no capability of Linux; they are written such as NET_ADMIN, SYS_TIME or ALL")


def _user(value: str) -> str:
    if not _USER.fullmatch(value):
        raise wrong('must be a user of the image, "name" or "name:group"')
    return value


def _seccomp(value: object) -> object:
    if value == "Localhost":
        raise wrong("Localhost", LATER)
    return value


class Capabilities(Model):
    """Capabilities added to and dropped from the default set."""

    add: Items[Annotated[str, AfterValidator(_capability)]] = Field(
        (), description='Added, without CAP_; "ALL" for all. Default: none.', json_schema_extra=SET
    )
    drop: Items[Annotated[str, AfterValidator(_capability)]] = Field(
        (), description='Dropped, without CAP_; "ALL" for all. Default: none.', json_schema_extra=SET
    )


class SeccompProfile(Model):
    """The filter of system calls."""

    type: Annotated[Literal["RuntimeDefault", "Unconfined"], BeforeValidator(_seccomp)] = Field(
        description="RuntimeDefault: Setpoint's own filter. Unconfined: none. Localhost is not supported yet."
    )
    localhost_profile: Later = later("Path of a profile on the node.")


class SecurityContext(Model):
    """Privileges of the process. The union of core/v1's Pod and container fields."""

    user: Annotated[str, AfterValidator(_user)] | None = Field(
        None,
        description='"name[:group]" as the image\'s passwd and group have it; not together with runAsUser or runAsGroup. '
        "Default: the image's user.",
    )
    run_as_user: Annotated[int, *_ID] | None = Field(None, description="User id. Default: the image's user.")
    run_as_group: Annotated[int, *_ID] | None = Field(
        None, description="Group id. Default: the image's, else that of the user."
    )
    run_as_non_root: bool | None = Field(
        None, description="True: a process that would run as user 0 is not started. Default: false."
    )
    supplemental_groups: Items[Annotated[int, *_ID]] = Field(
        (), description="More group ids. Default: none beside the image's."
    )
    privileged: bool = Field(False, description="All capabilities, no filter, no masks, all devices. Default: false.")
    allow_privilege_escalation: bool | None = Field(None, description="False sets no_new_privs. Default: true.")
    read_only_root_filesystem: bool = Field(
        False, description="Root file system read-only; volumes stay as they are. Default: false."
    )
    capabilities: Capabilities | None = Field(None, description="Changes to the default set of capabilities. Default: none.")
    proc_mount: Literal["Default", "Unmasked"] = Field(
        "Default", description="Default masks parts of /proc and /sys and makes others read-only. Default: Default."
    )
    seccomp_profile: SeccompProfile | None = Field(
        None, description="Filter of system calls. Default: RuntimeDefault; Unconfined when privileged."
    )
    app_armor_profile: Later = later("AppArmor profile.")
    se_linux_options: Later = later("SELinux labels.", alias="seLinuxOptions")
    se_linux_change_policy: Later = later("How SELinux labels reach volumes.", alias="seLinuxChangePolicy")
    fs_group: Later = later("Group that owns volumes.")
    fs_group_change_policy: Later = later("When that group is applied.")
    supplemental_groups_policy: Later = later("Whether groups of the image are merged.")
