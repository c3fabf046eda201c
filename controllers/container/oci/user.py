"""Who the process is: users and groups looked up in the image's own /etc/passwd and /etc/group.

A string ``name|uid[:group|gid]`` is resolved as Docker does (an explicit group switches the image's memberships off);
``runAsUser``/``runAsGroup`` as core/v1 does (memberships of the image are kept: supplementalGroupsPolicy Merge).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from controllers.container.oci.inputs import SpecInputs, image_config, invalid
from controllers.container.ports import ImageInfo
from state.objects import Object

UMASK = 0o022
_MAX_ID = 2**31 - 1


@dataclass(frozen=True, slots=True)
class Account:
    """One line of passwd."""

    name: str
    uid: int
    gid: int
    home: str


@dataclass(frozen=True, slots=True)
class Group:
    """One line of group."""

    name: str
    gid: int
    members: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Identity:
    """The process's user. ``home`` is ``/`` for one without a line in passwd."""

    uid: int
    gid: int
    groups: tuple[int, ...] = ()
    home: str = "/"

    def to_oci(self) -> Object:
        """``process.user``. The primary group is listed among the additional ones too, so that a file whose group has *less*
        than others cannot be reached by leaving that group (CVE-2022-36109)."""
        gids = list(dict.fromkeys((self.gid, *self.groups)))
        return {"uid": self.uid, "gid": self.gid, "umask": UMASK, "additionalGids": gids}


def parse_passwd(text: str) -> tuple[Account, ...]:
    """Lines in file order; malformed ones and comments are skipped, as libc does."""
    accounts = []
    for line in text.splitlines():
        parts = line.strip().split(":")
        if line.lstrip().startswith("#") or len(parts) < 4:
            continue
        uid, gid = _number(parts[2]), _number(parts[3])
        if parts[0] and uid is not None and gid is not None:
            accounts.append(Account(parts[0], uid, gid, parts[5] if len(parts) > 5 and parts[5] else "/"))
    return tuple(accounts)


def parse_group(text: str) -> tuple[Group, ...]:
    """Lines in file order; malformed ones and comments are skipped."""
    groups = []
    for line in text.splitlines():
        parts = line.strip().split(":")
        if line.lstrip().startswith("#") or len(parts) < 3:
            continue
        gid = _number(parts[2])
        if parts[0] and gid is not None:
            members = tuple(m.strip() for m in parts[3].split(",") if m.strip()) if len(parts) > 3 else ()
            groups.append(Group(parts[0], gid, members))
    return tuple(groups)


def identity(inputs: SpecInputs) -> Identity:
    """The user of the container's first process."""
    security = inputs.security
    who = _declared(inputs)
    if security.get("runAsGroup") is not None:
        who = Identity(who.uid, int(security["runAsGroup"]), who.groups, who.home)
    if security.get("runAsNonRoot") and who.uid == 0:
        raise invalid(
            "spec.securityContext.runAsNonRoot", "is true, and the container would run as root (uid 0); set runAsUser"
        )
    extra = [int(gid) for gid in security.get("supplementalGroups") or ()]
    if security.get("fsGroup") is not None:
        extra.append(int(security["fsGroup"]))
    return Identity(who.uid, who.gid, tuple(dict.fromkeys((*who.groups, *sorted(extra)))), who.home)


def _declared(inputs: SpecInputs) -> Identity:
    security, image = inputs.security, inputs.image
    strict = security.get("supplementalGroupsPolicy") == "Strict"
    if security.get("runAsUser") is not None:
        who = look_up(str(int(security["runAsUser"])), image, "spec.securityContext.runAsUser")
    elif security.get("user"):
        who = look_up(str(security["user"]), image, "spec.securityContext.user")
    else:
        who = look_up(str(image_config(image).get("User") or ""), image, "spec.image")
    return Identity(who.uid, who.gid, (), who.home) if strict else who


def look_up(user: str, image: ImageInfo, field: str) -> Identity:
    """``name|uid[:group|gid]`` in the image's files; empty is root. A number needs no line; an unknown name is Invalid."""
    name, _, group = user.strip().partition(":")
    accounts, groups = parse_passwd(image.passwd), parse_group(image.group)
    account = _account(name or "0", accounts)
    number = _number(name or "0")
    if account is None and number is None:
        raise invalid(field, f"unknown user {name!r}: the image {image.reference} has no such line in /etc/passwd")
    if number is not None and number > _MAX_ID:
        raise invalid(field, f"uid {number} is out of range 0-{_MAX_ID}")
    uid = account.uid if account else number
    assert uid is not None
    home = account.home if account else "/"
    if group:
        return Identity(uid, _gid(group, groups, image, field), (), home)
    memberships = tuple(g.gid for g in groups if account and account.name in g.members)
    return Identity(uid, account.gid if account else 0, memberships, home)


def _account(name: str, accounts: Sequence[Account]) -> Account | None:
    """By name first: a user may be called ``1000``."""
    by_name = next((a for a in accounts if a.name == name), None)
    return by_name or next((a for a in accounts if str(a.uid) == name), None)


def _gid(group: str, groups: Sequence[Group], image: ImageInfo, field: str) -> int:
    by_name = next((g.gid for g in groups if g.name == group), None)
    if by_name is not None:
        return by_name
    number = _number(group)
    if number is None:
        raise invalid(field, f"unknown group {group!r}: the image {image.reference} has no such line in /etc/group")
    if number > _MAX_ID:
        raise invalid(field, f"gid {number} is out of range 0-{_MAX_ID}")
    return number


def _number(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdigit() else None
