"""The ports of this slice, bundled: what one node offers to it."""

from __future__ import annotations

from dataclasses import dataclass

from controllers.container.ports import Host, HostPaths, Images, Logs, NodeFiles, Recorder, Runtime, Sandboxes
from state.ledger import Ledger
from state.store import Store


@dataclass(frozen=True, slots=True)
class Ports:
    """All effects of the slice go through one of these."""

    store: Store
    ledger: Ledger
    runtime: Runtime
    images: Images
    sandboxes: Sandboxes
    files: NodeFiles
    paths: HostPaths
    logs: Logs
    host: Host
    recorder: Recorder
