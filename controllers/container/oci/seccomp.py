"""Which system calls the process may make. The default list is :mod:`controllers.container.oci.seccomp_profile`'s.

``RuntimeDefault`` (also when nothing is declared), ``Unconfined``, ``Localhost`` as core/v1; privileged without a declaration
has no filter. Source: seccomp(2), OCI ``config-linux.md``.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache

from controllers.container.oci import capabilities, seccomp_profile
from controllers.container.oci.inputs import SpecInputs, awaited, invalid
from state.objects import Object

_EPERM = 1
_ENOSYS = 38
# CLONE_NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID, NEWNET
_CLONE_NEW = 0x7E020000
# PER_LINUX, PER_LINUX32, each with and without UNAME26, and the query that changes nothing
_PERSONALITIES = (0x0, 0x8, 0x20000, 0x20008, 0xFFFFFFFF)
_AF_ALG, _AF_VSOCK = 38, 40
ARCHITECTURES: Mapping[str, tuple[str, ...]] = {
    # Without x32, which distributions do not run: its copy of the rules is compiled at every start, a fifth of runc's work.
    "x86_64": ("SCMP_ARCH_X86_64", "SCMP_ARCH_X86"),
    "aarch64": ("SCMP_ARCH_AARCH64", "SCMP_ARCH_ARM"),
}
_ALIASES = {"amd64": "x86_64", "arm64": "aarch64"}


def filter_of(inputs: SpecInputs) -> Object | None:
    """``linux.seccomp``, None for no filter."""
    declared = inputs.security.get("seccompProfile") or {}
    kind = declared.get("type")
    if kind == "Unconfined" or (kind is None and inputs.privileged):
        return None
    if kind == "Localhost":
        if inputs.seccomp_profile is None:
            name = str(declared.get("localhostProfile", ""))
            raise awaited("SeccompProfile", name, "spec.securityContext.seccompProfile.localhostProfile")
        return inputs.seccomp_profile
    return default_filter(inputs.host.architecture, capabilities.granted(inputs), inputs.host.kernel)


def default_filter(architecture: str, granted: frozenset[str], kernel: tuple[int, int]) -> Object:
    """The default filter for a machine (``uname -m``), the capabilities in the bounding set and the kernel's version."""
    machine = _ALIASES.get(architecture, architecture)
    if machine not in ARCHITECTURES:
        known = ", ".join(ARCHITECTURES)
        raise invalid(
            "spec.securityContext.seccompProfile", f"no default profile for {architecture!r} (known: {known}); use Unconfined"
        )
    rules = [_allow(names) for names in _plain(machine, granted, kernel)]
    return {
        "defaultAction": "SCMP_ACT_ERRNO",
        "defaultErrnoRet": _EPERM,
        "architectures": list(ARCHITECTURES[machine]),
        "syscalls": rules + _filtered(granted),
    }


@lru_cache(maxsize=64)
def _plain(machine: str, granted: frozenset[str], kernel: tuple[int, int]) -> tuple[tuple[str, ...], ...]:
    """Calls allowed whatever their arguments, one group for always and one per capability that unlocks some."""
    always = set(seccomp_profile.ALWAYS) | set(seccomp_profile.BY_MACHINE[machine])
    if kernel >= seccomp_profile.PTRACE_SAFE_SINCE:
        always |= set(seccomp_profile.PTRACE)
    unlocked = [names for cap, names in sorted(seccomp_profile.BY_CAPABILITY.items()) if cap in granted]
    return tuple(tuple(sorted(group)) for group in (always, *unlocked))


def _filtered(granted: frozenset[str]) -> list[Object]:
    """Calls whose arguments decide."""
    rules = [_allow(("personality",), _arg(0, value, "SCMP_CMP_EQ")) for value in _PERSONALITIES]
    rules += [
        _allow(("socket",), _arg(0, _AF_ALG, "SCMP_CMP_LT")),
        _allow(("socket",), _arg(0, _AF_ALG + 1, "SCMP_CMP_EQ")),
        _allow(("socket",), _arg(0, _AF_VSOCK, "SCMP_CMP_GT")),
    ]
    if "CAP_SYS_ADMIN" not in granted:
        rules.append(_allow(("clone",), _arg(0, _CLONE_NEW, "SCMP_CMP_MASKED_EQ") | {"valueTwo": 0}))
        # its flags lie behind a pointer, which a filter cannot follow: libc falls back to clone on ENOSYS
        rules.append({"names": ["clone3"], "action": "SCMP_ACT_ERRNO", "errnoRet": _ENOSYS})
    return rules


def _allow(names: tuple[str, ...], *args: Object) -> Object:
    rule: Object = {"names": list(names), "action": "SCMP_ACT_ALLOW"}
    return rule | {"args": list(args)} if args else rule


def _arg(index: int, value: int, op: str) -> Object:
    return {"index": index, "value": value, "op": op}
