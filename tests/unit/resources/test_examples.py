"""What newcomers read first is right: every object in examples/ is admitted, alone and by a store."""

from __future__ import annotations

from pathlib import Path

import pytest

from setpoint.drivers.clock import SystemClock, Uuids
from state.objects import Object
from state.resources.admission import admit
from state.resources.documents import read
from state.sqlite.store import SqliteStore
from state.store import Apply

EXAMPLES = Path(__file__).resolve().parents[3] / "examples"
FILES = sorted(EXAMPLES.glob("*.yaml"))


def objects(file: Path) -> list[Object]:
    """As the API takes them: in the namespace ``default`` where none is named."""
    found = [document.object for document in read(file.read_bytes(), file.name)]
    return [{**obj, "metadata": {"namespace": "default", **obj["metadata"]}} for obj in found]


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_each_file_is_admitted_and_begins_with_what_it_is_for(file: Path) -> None:
    assert file.read_text().startswith("# ")
    assert objects(file)
    for obj in objects(file):
        assert admit(obj)["metadata"]["name"]


async def test_all_together_are_stored_in_one_apply_and_again_change_nothing(tmp_path: Path) -> None:
    every = [obj for file in FILES for obj in objects(file)]
    store = await SqliteStore.open(tmp_path / "store.db", clock=SystemClock(), ids=Uuids())
    try:
        for wanted in ("created", "unchanged"):
            outcomes = await store.apply([Apply(obj, "setpoint") for obj in every])
            assert {result.outcome for result in outcomes} == {wanted}
    finally:
        await store.close()
    assert {obj["kind"] for obj in every} == {"Container", "ConfigMap", "Secret"}
