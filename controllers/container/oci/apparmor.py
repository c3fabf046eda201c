"""Which AppArmor profile the process gets.

A profile that is not loaded makes the runtime refuse the container, so the default one is named only where the host says that
it is loaded (``HostFacts.extra["apparmor_profiles"]``): elsewhere the other walls (capabilities, seccomp, masked paths) stand
alone.
"""

from __future__ import annotations

from controllers.container.oci.inputs import SpecInputs, awaited, invalid

DEFAULT_PROFILE = "setpoint-default"


def profile(inputs: SpecInputs) -> str:
    """The profile's name, empty for none."""
    declared = inputs.security.get("appArmorProfile") or {}
    kind = declared.get("type")
    loaded = inputs.host.extra.get("apparmor_profiles") or ()
    if kind == "Localhost":
        name = str(declared.get("localhostProfile", ""))
        if not inputs.host.apparmor:
            raise invalid("spec.securityContext.appArmorProfile", "this host has no AppArmor; leave it out or use Unconfined")
        if name not in loaded:
            raise awaited("AppArmorProfile", name, "spec.securityContext.appArmorProfile.localhostProfile")
        return name
    if not inputs.host.apparmor or kind == "Unconfined" or (kind is None and inputs.privileged):
        return ""
    return DEFAULT_PROFILE if DEFAULT_PROFILE in loaded else ""
