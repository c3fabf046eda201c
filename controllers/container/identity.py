"""hosts, hostname and resolv.conf of a sandbox, as core/v1's hostAliases, dnsPolicy and dnsConfig shape them. Pure."""

from __future__ import annotations

from controllers.container.model import Desired
from controllers.container.ports import HostFacts

_LOCAL = """127.0.0.1\tlocalhost
::1\tlocalhost ip6-localhost ip6-loopback
fe00::\tip6-localnet
ff00::\tip6-mcastprefix
ff02::1\tip6-allnodes
ff02::2\tip6-allrouters
"""


def hostname(want: Desired, facts: HostFacts) -> str:
    return str(want.spec.get("hostname") or (facts.hostname if want.host_network else want.key.name))


def hosts(want: Desired, facts: HostFacts) -> str:
    """The host's file with the host's network, else loopback and the own name; then the aliases."""
    name = hostname(want, facts)
    text = facts.hosts if want.host_network and facts.hosts else f"{_LOCAL}127.0.1.1\t{name}\n"
    for alias in want.spec.get("hostAliases") or ():
        text += f"{alias.get('ip', '')}\t{' '.join(alias.get('hostnames') or ())}\n"
    return text


def resolv_conf(want: Desired, facts: HostFacts) -> str:
    """The host's resolver unless ``dnsPolicy: None``; ``dnsConfig`` adds to it, options by name."""
    config = want.spec.get("dnsConfig") or {}
    base = "" if want.spec.get("dnsPolicy") == "None" else facts.resolv_conf
    if not config:
        return base
    servers = [line.split()[1] for line in base.splitlines() if line.startswith("nameserver") and len(line.split()) > 1]
    search = [word for line in base.splitlines() if line.startswith(("search", "domain")) for word in line.split()[1:]]
    options = [word for line in base.splitlines() if line.startswith("options") for word in line.split()[1:]]
    search += [s for s in config.get("searches") or () if s not in search]
    for option in config.get("options") or ():
        name, value = option.get("name", ""), option.get("value")
        options = [o for o in options if o.partition(":")[0] != name]
        options.append(f"{name}:{value}" if value else name)
    lines = [f"nameserver {server}" for server in (*servers, *(config.get("nameservers") or ()))]
    lines += [f"search {' '.join(search)}"] if search else []
    lines += [f"options {' '.join(options)}"] if options else []
    return "\n".join(lines) + "\n"
