"""What is executed: command and args against the image's Entrypoint and Cmd by core/v1's table, directory, terminal, init."""

from __future__ import annotations

from collections.abc import Mapping

from controllers.container.oci import apparmor, capabilities, environment, rlimits, user
from controllers.container.oci.inputs import SpecInputs, clean_path, image_config, invalid
from state.objects import Object

INIT_TARGET = "/sbin/setpoint-init"


def process(inputs: SpecInputs, who: user.Identity) -> Object:
    """The document's ``process``."""
    own = environment.declared(inputs)
    result: Object = {
        "terminal": bool(inputs.spec.get("tty")),
        "user": who.to_oci(),
        "args": arguments(inputs, own),
        "env": environment.environment(inputs, own, who.home),
        "cwd": working_dir(inputs),
        "capabilities": capabilities.to_oci(capabilities.granted(inputs), who.uid),
        "rlimits": rlimits.rlimits(inputs.spec),
        "oomScoreAdj": oom_score_adj(inputs.spec),
        "noNewPrivileges": inputs.security.get("allowPrivilegeEscalation") is False,
    }
    if profile := apparmor.profile(inputs):
        result["apparmorProfile"] = profile
    return {key: value for key, value in result.items() if value != []}


def oom_score_adj(spec: Object) -> int:
    """0 unless declared: left out, the process would inherit the shim's, which is protected as containerd is."""
    return int(((spec.get("resources") or {}).get("linux") or {}).get("oomScoreAdj") or 0)


def arguments(inputs: SpecInputs, variables: Mapping[str, str]) -> list[str]:
    """``command`` replaces Entrypoint *and* Cmd, ``args`` alone replaces Cmd; the image's own words are not expanded."""
    config = image_config(inputs.image)
    command = [environment.expand(str(word), variables) for word in inputs.spec.get("command") or ()]
    args = [environment.expand(str(word), variables) for word in inputs.spec.get("args") or ()]
    from_image = list(config.get("Entrypoint") or ()) + (args or list(config.get("Cmd") or ()))
    words = command + args if command else from_image
    if not words or not words[0]:
        raise invalid(
            "spec.command",
            f"nothing to run: the image {inputs.image.reference} has neither ENTRYPOINT nor CMD; set spec.command",
            "FieldValueRequired",
        )
    return [INIT_TARGET, "--", *words] if inputs.spec.get("init") else words


def working_dir(inputs: SpecInputs) -> str:
    """The declared one, else the image's, else ``/``; the runtime makes a missing one."""
    directory = str(inputs.spec.get("workingDir") or image_config(inputs.image).get("WorkingDir") or "/")
    if not directory.startswith("/"):
        if inputs.spec.get("workingDir"):
            raise invalid("spec.workingDir", f"{directory!r} is not absolute; write for example /{directory}")
        directory = "/" + directory
    return clean_path(directory)
