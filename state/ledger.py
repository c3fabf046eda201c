"""The Ledger protocol: what this node must remember by itself, in both homes.

Small documents in named spaces. A slice owns its spaces and their shapes (``controllers.container.memory``); the ledger
keeps bytes, and keeps them over power loss: ``put`` returns when durable.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from state.objects import Object

CONTAINERS = "containers"
"""Space: one document per Container uid: revisions, exits, failures, next start."""
TOMBSTONES = "tombstones"
"""Space: one document per uid whose object was deleted: only with it may what is left of the uid be swept."""


class Ledger(Protocol):
    """Reads are from memory and cannot fail; writes are durable and all-or-nothing per call."""

    def get(self, space: str, id: str) -> Object | None:
        """The document, or None. The caller must not change it."""

    def list(self, space: str) -> Mapping[str, Object]:
        """A snapshot of a space: id -> document."""

    async def put(self, space: str, id: str, doc: Object | None) -> None:
        """Writes one document; None deletes it. Writing an equal one commits nothing. Raises Unavailable."""

    async def put_all(self, changes: Mapping[tuple[str, str], Object | None]) -> None:
        """Several documents in one commit, keyed by (space, id)."""
