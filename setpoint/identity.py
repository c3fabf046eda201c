"""Which engine this data dir belongs to. Everything on the node carries its id, so it must outlive the store that made it."""

from __future__ import annotations

import os
from pathlib import Path
from uuid import UUID

FILE = "engine-id"


def recall(data_dir: Path) -> str:
    """The id of the engine whose data dir this is; empty when there was none, or the file cannot be believed."""
    try:
        return str(UUID((data_dir / FILE).read_text().strip()))
    except (OSError, ValueError):
        return ""


def remember(data_dir: Path, engine_id: str) -> None:
    """Keeps the id beside the store, whole or not at all. Raises OSError."""
    if recall(data_dir) == engine_id:
        return
    draft = data_dir / f".{FILE}.new"
    with open(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        file.write(f"{engine_id}\n")
        file.flush()
        os.fsync(file.fileno())
    draft.replace(data_dir / FILE)
