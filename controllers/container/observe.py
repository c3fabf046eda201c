"""Reads: what the node shows of one uid, as one frozen value."""

from __future__ import annotations

from dataclasses import replace

from controllers.container.bundle import Ports
from controllers.container.model import LIVE, Desired, Seen
from controllers.container.references import gather, references, required
from controllers.container.view import RuntimeView

Written = dict[str, str]
"""uid -> versions of the references that its files were written from. Lost with the agent: then written once more."""


class Observer:
    """A slice of the node-wide views, and of the references of one Container."""

    def __init__(self, ports: Ports, view: RuntimeView, written: Written) -> None:
        self._ports, self._view, self._written = ports, view, written

    async def observe(self, want: Desired, before: Seen) -> Seen:
        """What was resolved earlier in the pass is kept from ``before``."""
        if not self._view.fresh:
            return replace(before, instances=self._view.of(want.uid), fresh=False)
        instances = await self._view.settle(want.uid)
        live = next((i.id for i in instances if i.task in LIVE), "")
        seen = replace(before, instances=instances, fresh=True, signalled=self._view.signalled.get(live))
        if want.deleting:
            # Asked for only when it is their turn: instances go first.
            return replace(seen, leftovers=not seen.instances and await self._leftovers(want.uid))
        if not any(references(want.spec)):
            return seen
        gathered = await gather(self._ports.store, want.key.namespace, want.spec)
        missing = tuple(f"{kind} {name}" for kind, name in sorted(required(want.spec)) if not gathered.has(kind, name))
        stale = self._written.get(want.uid) != gathered.files
        return replace(seen, env_refs=gathered.env, stale_refs=stale, missing_refs=missing)

    async def _leftovers(self, uid: str) -> bool:
        ports = self._ports
        return uid in await ports.sandboxes.list() or uid in await ports.files.list() or uid in await ports.logs.list()
