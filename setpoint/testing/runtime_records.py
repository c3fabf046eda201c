"""The part of the runtime contract that is about records: what they hold, and whose they are."""

from __future__ import annotations

from dataclasses import replace

import pytest

from setpoint.testing.runtime_rig import NULL, RuntimeRig, new, run, see, stopped
from state.errors import AlreadyExists, Conflict, Denied, NotFound


class RecordsContract:
    """Records and their snapshots. Fixture: ``rig``."""

    async def test_nothing_at_first(self, rig: RuntimeRig) -> None:
        assert list(await rig.runtime.list()) == []

    async def test_created_is_seen_with_all_that_names_it(self, rig: RuntimeRig) -> None:
        made = new(rig, revision=3, namespace="shop", name="cart")
        await rig.runtime.create(made)
        seen = await see(rig, made.id)
        assert (seen.id, seen.uid, seen.revision) == (made.id, made.uid, 3)
        assert (seen.namespace, seen.name) == ("shop", "cart")
        assert (seen.task, seen.pid, seen.exit) == (None, 0, None)

    async def test_create_makes_a_snapshot_of_the_same_name(self, rig: RuntimeRig) -> None:
        made = new(rig)
        await rig.runtime.create(made)
        census = await rig.census()
        assert census.records == census.snapshots == (made.id,)
        assert census.tasks == ()

    async def test_create_again_changes_nothing(self, rig: RuntimeRig) -> None:
        made = new(rig)
        await rig.runtime.create(made)
        await rig.runtime.create(made)
        assert [row.id for row in await rig.runtime.list()] == [made.id]

    async def test_create_again_makes_a_lost_snapshot_again(self, rig: RuntimeRig) -> None:
        made = new(rig)
        await rig.runtime.create(made)
        await rig.hands.drop_snapshot(made.id)
        await rig.runtime.create(made)
        assert (await rig.census()).snapshots == (made.id,)

    async def test_one_id_is_one_identity(self, rig: RuntimeRig) -> None:
        made = new(rig)
        await rig.runtime.create(made)
        with pytest.raises(AlreadyExists):
            await rig.runtime.create(replace(made, uid="0e4f7e55-1f0a-4c5e-9d5e-0123456789ab"))
        assert (await see(rig, made.id)).uid == made.uid

    async def test_an_image_that_is_not_here_is_named(self, rig: RuntimeRig) -> None:
        made = new(rig, image="example.org/none:1", chain_id="sha256:" + "0" * 64)
        with pytest.raises(NotFound, match=r"example\.org/none:1") as caught:
            await rig.runtime.create(made)
        assert caught.value.kind == "Image"
        assert (await rig.census()).records == ()

    async def test_the_declaration_comes_with_a_look_only(self, rig: RuntimeRig) -> None:
        made = new(rig, declaration={"spec": {"a": [1, {"b": "ü"}]}})
        await rig.runtime.create(made)
        assert (await see(rig, made.id)).declaration == {"spec": {"a": [1, {"b": "ü"}]}}
        assert [row.declaration for row in await rig.runtime.list()] == [None]

    async def test_a_long_declaration_fits(self, rig: RuntimeRig) -> None:
        made = new(rig, declaration={"spec": {"text": "x" * 100_000}})
        await rig.runtime.create(made)
        assert (await see(rig, made.id)).declaration == made.declaration

    async def test_look_at_nothing(self, rig: RuntimeRig) -> None:
        assert await rig.runtime.look(new(rig).id) is None

    async def test_list_has_one_row_per_record(self, rig: RuntimeRig) -> None:
        made = [new(rig, name=f"n{i}") for i in range(5)]
        for each in made:
            await rig.runtime.create(each)
        pid = await rig.runtime.launch(made[2].id, NULL)
        rows = {row.id: row for row in await rig.runtime.list()}
        assert rows.keys() == {each.id for each in made}
        assert {row.name for row in rows.values()} == {"n0", "n1", "n2", "n3", "n4"}
        assert (rows[made[2].id].task, rows[made[2].id].pid) == ("RUNNING", pid)

    async def test_remove_takes_record_and_snapshot(self, rig: RuntimeRig) -> None:
        made = new(rig)
        await rig.runtime.create(made)
        await rig.runtime.remove(made.id)
        census = await rig.census()
        assert (census.records, census.snapshots) == ((), ())
        assert await rig.runtime.look(made.id) is None

    async def test_remove_again_is_fine(self, rig: RuntimeRig) -> None:
        made = new(rig)
        await rig.runtime.create(made)
        await rig.runtime.remove(made.id)
        await rig.runtime.remove(made.id)
        await rig.runtime.remove(new(rig).id)

    async def test_remove_without_its_snapshot(self, rig: RuntimeRig) -> None:
        made = new(rig)
        await rig.runtime.create(made)
        await rig.hands.drop_snapshot(made.id)
        await rig.runtime.remove(made.id)
        assert await rig.runtime.look(made.id) is None

    async def test_a_running_task_is_not_removed(self, rig: RuntimeRig) -> None:
        id, pid = await run(rig)
        with pytest.raises(Conflict):
            await rig.runtime.remove(id)
        assert (await see(rig, id)).pid == pid
        assert rig.alive(pid)

    async def test_a_stopped_task_is_reaped_before_removal(self, rig: RuntimeRig) -> None:
        id, _ = await run(rig, ["true"])
        await stopped(rig, id)
        with pytest.raises(Conflict):
            await rig.runtime.remove(id)
        await rig.runtime.reap(id)
        await rig.runtime.remove(id)
        assert (await rig.census()).records == ()

    async def test_the_same_id_can_be_made_again_after_removal(self, rig: RuntimeRig) -> None:
        made = new(rig)
        await rig.runtime.create(made)
        await rig.runtime.remove(made.id)
        await rig.runtime.create(made)
        await rig.runtime.launch(made.id, NULL)


class OwnershipContract:
    """What is not ours is neither seen nor touched."""

    async def test_a_foreign_container_is_not_seen(self, rig: RuntimeRig) -> None:
        await rig.hands.add_foreign("somebody-elses")
        assert await rig.runtime.look("somebody-elses") is None
        assert list(await rig.runtime.list()) == []

    async def test_a_foreign_container_is_not_touched(self, rig: RuntimeRig) -> None:
        await rig.hands.add_foreign("somebody-elses")
        with pytest.raises(AlreadyExists):
            await rig.runtime.create(new(rig, id="somebody-elses"))
        for call in (rig.runtime.launch("somebody-elses", NULL), rig.runtime.remove("somebody-elses")):
            with pytest.raises((Denied, Conflict)):
                await call
        assert "somebody-elses" in (await rig.census()).processes

    async def test_two_engines_do_not_see_each_other(self, rig: RuntimeRig) -> None:
        other = rig.other("engine-2")
        made = new(rig)
        await rig.runtime.create(made)
        assert await other.look(made.id) is None
        with pytest.raises(AlreadyExists):
            await other.create(made)
        with pytest.raises(Denied):
            await other.launch(made.id, NULL)
        with pytest.raises(Denied):
            await other.remove(made.id)
        assert (await see(rig, made.id)).task is None
