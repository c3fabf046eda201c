"""What is left on the node of a uid whose object is gone.

Absence is no evidence: a thing is swept only if it carries our engine id and the ledger has a tombstone for its uid. Ours
without a tombstone is an orphan: kept running, listed, removed only by an explicit command.
"""

from __future__ import annotations

from collections.abc import Sequence

from controllers.container.act import forget, release
from controllers.container.bundle import Ports
from controllers.container.ports import Instance
from controllers.container.view import RuntimeView
from controllers.engine.ports import Log
from controllers.engine.result import DONE, Result
from state.errors import Unavailable
from state.ledger import CONTAINERS, TOMBSTONES
from state.objects import Key, Object
from state.store import Selection

REMAINS = "Remains"
"""The key's kind; its name is the uid."""


def remains(uid: str) -> Key:
    return Key(REMAINS, "", uid)


class Sweep:
    """One pass ends what is left of one uid. Asked for at start, at every resync, and when an object goes."""

    kind = REMAINS

    def __init__(self, ports: Ports, view: RuntimeView, log: Log) -> None:
        self._ports, self._view, self._log = ports, view, log

    async def keys(self) -> Sequence[tuple[Key, int]]:
        """Every uid that has anything on this node and no object. The node is read first: an object comes before its things."""
        ports = self._ports
        found = {*self._view.uids(), *await ports.sandboxes.list(), *await ports.files.list(), *await ports.logs.list()}
        found |= {*ports.ledger.list(CONTAINERS), *ports.ledger.list(TOMBSTONES)}
        return [(remains(uid), -1) for uid in sorted(found - await self._declared())]

    async def reconcile(self, key: Key) -> Result:
        uid = key.name
        if self._ports.ledger.get(TOMBSTONES, uid) is None:
            return DONE  # asked first, of memory: every removal ends here, and the list of all objects need not be read for it
        if uid in await self._declared():
            return DONE
        if not self._view.fresh:
            raise Unavailable("containerd does not answer: nothing is swept")
        left = await self._view.settle(uid)
        for instance in left:
            await self._end(instance)
        await release(self._ports, uid)
        await forget(self._ports, uid, buried=self._view.in_doubt(uid))
        if left:
            self._log.info("swept what was left of a deleted container", uid=uid, instances=len(left))
        return DONE

    async def orphans(self) -> list[Instance]:
        """Instances of ours without object and without tombstone, with the declaration that their record holds."""
        declared = await self._declared()
        buried = self._ports.ledger.list(TOMBSTONES)
        ids = [i.id for i in self._view.all() if i.uid not in declared and i.uid not in buried]
        looked = [await self._ports.runtime.look(id) for id in sorted(ids)]
        return [instance for instance in looked if instance is not None]

    async def bury(self, instance: Instance) -> Result:
        """The explicit command: from now on what is left of this uid may be swept, and is."""
        doc: Object = {"namespace": instance.namespace, "name": instance.name}
        await self._ports.ledger.put(TOMBSTONES, instance.uid, doc)
        return await self.reconcile(remains(instance.uid))

    async def _end(self, instance: Instance) -> None:
        runtime = self._ports.runtime
        with self._view.acting(instance.id):
            target = await runtime.look(instance.id)
            if target is not None:
                if target.task is not None:
                    await runtime.reap(instance.id, force=True)
                await runtime.remove(instance.id)
        self._view.drop(instance)

    async def _declared(self) -> set[str]:
        return {stored.uid for stored in (await self._ports.store.list(Selection("Container"))).items}
