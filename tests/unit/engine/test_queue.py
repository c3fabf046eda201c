from __future__ import annotations

import math
from dataclasses import dataclass

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from controllers.engine.queue import Queue


def popped(queue: Queue[str], now: float) -> list[str]:
    """Everything that is due, in order of service; the keys stay active."""
    found = []
    while (entry := queue.pop(now)) is not None:
        found.append(entry.key)
    return found


def test_first_in_first_out() -> None:
    queue: Queue[str] = Queue()
    for key in "bca":
        queue.add(key, now=0, due=0)
    assert popped(queue, 0) == ["b", "c", "a"]


def test_a_key_is_there_once() -> None:
    queue: Queue[str] = Queue()
    for _ in range(5):
        queue.add("a", now=0, due=0)
    assert popped(queue, 0) == ["a"]
    assert len(queue) == 0


def test_higher_priority_first_then_order() -> None:
    queue: Queue[str] = Queue()
    for key, priority in [("a", 0), ("b", 2), ("c", 1), ("d", 2)]:
        queue.add(key, now=0, due=0, priority=priority)
    assert popped(queue, 0) == ["b", "d", "c", "a"]


def test_priority_of_a_waiting_key_can_be_raised_not_lowered() -> None:
    queue: Queue[str] = Queue()
    queue.add("a", now=0, due=0)
    queue.add("b", now=0, due=0)
    queue.add("b", now=0, due=0, priority=5)
    queue.add("b", now=0, due=0, priority=1)
    entry = queue.pop(0)
    assert entry is not None
    assert (entry.key, entry.priority) == ("b", 5)


def test_a_delayed_key_waits() -> None:
    queue: Queue[str] = Queue()
    queue.add("a", now=0, due=10)
    assert queue.pop(9.9) is None
    assert queue.next_due() == 10
    assert popped(queue, 10) == ["a"]
    assert queue.next_due() is None


@pytest.mark.parametrize("dues", [(10, 5), (5, 10), (10, 5, 7)], ids=str)
def test_the_earliest_of_several_delays_wins(dues: tuple[float, ...]) -> None:
    queue: Queue[str] = Queue()
    for due in dues:
        queue.add("a", now=0, due=due)
    assert queue.pop(4.9) is None
    assert popped(queue, 5) == ["a"]
    queue.done("a", now=5)
    assert queue.pop(100) is None


def test_an_event_cuts_a_delay_short() -> None:
    queue: Queue[str] = Queue()
    queue.add("a", now=0, due=100)
    queue.add("a", now=1, due=1)
    assert popped(queue, 1) == ["a"]


def test_delayed_keys_come_in_order_of_time() -> None:
    queue: Queue[str] = Queue()
    for key, due in [("c", 3), ("a", 1), ("b", 2)]:
        queue.add(key, now=0, due=due)
    assert popped(queue, 9) == ["a", "b", "c"]


def test_adds_while_active_are_served_once_afterwards() -> None:
    queue: Queue[str] = Queue()
    queue.add("a", now=0, due=0)
    assert popped(queue, 0) == ["a"]
    for _ in range(3):
        queue.add("a", now=1, due=1)
    assert queue.pop(1) is None
    queue.done("a", now=2)
    assert popped(queue, 2) == ["a"]
    queue.done("a", now=3)
    assert popped(queue, 3) == []


def test_of_adds_while_active_the_earliest_and_most_urgent_count() -> None:
    queue: Queue[str] = Queue()
    queue.add("a", now=0, due=0)
    queue.pop(0)
    queue.add("a", now=1, due=20, priority=1)
    queue.add("a", now=1, due=10)
    queue.done("a", now=2, due=30)
    assert queue.next_due() == 10
    entry = queue.pop(10)
    assert entry is not None
    assert entry.priority == 1


def test_done_can_ask_for_another_look() -> None:
    queue: Queue[str] = Queue()
    queue.add("a", now=0, due=0)
    queue.pop(0)
    queue.done("a", now=1, due=5, priority=3)
    assert queue.next_due() == 5


def test_looking_again_at_once_goes_behind_the_others() -> None:
    queue: Queue[str] = Queue()
    queue.add("a", now=0, due=0)
    queue.add("b", now=0, due=0)
    queue.pop(0)
    queue.done("a", now=0, due=0)
    assert popped(queue, 0) == ["b", "a"]


def test_postpone_holds_back_what_came_while_active() -> None:
    queue: Queue[str] = Queue()
    queue.add("a", now=0, due=0)
    queue.pop(0)
    queue.postpone("a", not_before=9)
    queue.add("a", now=1, due=1)
    queue.postpone("a", not_before=4)
    queue.done("a", now=2)
    assert queue.next_due() == 4


def test_patience_ends_starvation() -> None:
    queue: Queue[str] = Queue(patience=30)
    queue.add("low", now=0, due=0, priority=-100)
    served = []
    for now in range(100):
        queue.add("high", now=now, due=now, priority=100)
        entry = queue.pop(now)
        assert entry is not None
        served.append(entry.key)
        queue.done(entry.key, now=now)
    assert served.index("low") == 31


def test_a_jam_does_not_stop_urgent_keys() -> None:
    queue: Queue[str] = Queue(patience=30)
    for number in range(100):
        queue.add(f"old{number}", now=0, due=0)
    queue.add("urgent", now=60, due=60, priority=1)
    assert popped(queue, 60)[:3] == ["old0", "urgent", "old1"]


def test_a_raise_in_priority_keeps_the_age() -> None:
    queue: Queue[str] = Queue(patience=30)
    queue.add("a", now=0, due=0)
    queue.add("a", now=20, due=20, priority=1)
    queue.add("b", now=31, due=31, priority=9)
    assert popped(queue, 31) == ["a", "b"]


def test_a_key_that_fell_due_unseen_keeps_its_age() -> None:
    queue: Queue[str] = Queue(patience=30)
    queue.add("old", now=0, due=1)
    queue.add("new", now=62, due=62, priority=5)
    assert popped(queue, 62) == ["old", "new"]


def test_next_due_is_at_once_while_any_is_ready() -> None:
    queue: Queue[str] = Queue()
    queue.add("a", now=0, due=0)
    assert queue.next_due() == -math.inf
    assert queue.has_due(0)


def test_entries_in_order_of_service() -> None:
    queue: Queue[str] = Queue()
    queue.add("later", now=0, due=9)
    queue.add("soon", now=0, due=5)
    queue.add("low", now=0, due=0)
    queue.add("high", now=0, due=0, priority=1)
    assert [entry.key for entry in queue.entries()] == ["high", "low", "soon", "later"]


def test_contains_and_get() -> None:
    queue: Queue[str] = Queue()
    assert "a" not in queue
    queue.add("a", now=0, due=3)
    assert "a" in queue
    assert (entry := queue.get("a")) is not None
    assert entry.due == 3
    queue.pop(3)
    assert "a" in queue
    assert queue.get("a") is None
    queue.add("a", now=4, due=8)
    assert (kept := queue.get("a")) is not None
    assert kept.due == 8


def test_many_keys_leave_nothing_behind() -> None:
    queue: Queue[int] = Queue()
    for key in range(10_000):
        for due in (50, 20, 0):
            queue.add(key, now=0, due=due, priority=due)
    count = 0
    while (entry := queue.pop(100)) is not None:
        queue.done(entry.key, now=100)
        count += 1
    assert count == 10_000
    assert queue.next_due() is None
    assert not queue._ready
    assert not queue._waiting
    assert len(queue._arrivals) <= 1


@dataclass
class Expected:
    """The model's view of one key."""

    due: float
    priority: int
    order: int


KEYS = st.sampled_from("abcdef")


class QueueAgainstModel(RuleBasedStateMachine):
    """The queue beside a model that sorts a list on every pop."""

    def __init__(self) -> None:
        super().__init__()
        self.queue: Queue[str] = Queue(patience=50)
        self.now = 0.0
        self.order = 0
        self.by_priority = 3
        self.rest: dict[str, Expected] = {}
        self.active: dict[str, Expected | None] = {}

    def expect(self, key: str, due: float, priority: int) -> None:
        known = self.rest.get(key)
        if known is None:
            self.order += 1
            self.rest[key] = Expected(max(due, self.now), priority, self.order)
            return
        known.priority = max(known.priority, priority)
        if known.due > self.now and due < known.due:
            self.order += 1
            known.due, known.order = max(due, self.now), self.order

    @rule(key=KEYS, delay=st.integers(0, 20), priority=st.integers(-1, 2))
    def add(self, key: str, delay: int, priority: int) -> None:
        due = self.now + delay
        self.queue.add(key, now=self.now, due=due, priority=priority)
        if key in self.active:
            kept = self.active[key]
            self.active[key] = (
                Expected(due, priority, 0) if kept is None else Expected(min(kept.due, due), max(kept.priority, priority), 0)
            )
        else:
            self.expect(key, due, priority)

    @rule(by=st.integers(1, 60))
    def pass_time(self, by: int) -> None:
        self.now += by

    @rule()
    def pop(self) -> None:
        entry = self.queue.pop(self.now)
        due = {key: e for key, e in self.rest.items() if e.due <= self.now}
        if entry is None:
            assert not due
            self.by_priority += 1
            return
        taken = due[entry.key]
        oldest = min(e.due for e in due.values())
        if self.now - oldest > 50 and self.by_priority >= 3:
            self.by_priority = 0
            assert taken.due == oldest
        else:
            self.by_priority += 1
            assert taken.priority == max(e.priority for e in due.values())
            peers = [e for e in due.values() if e.priority == taken.priority]
            assert (taken.due, taken.order) == min((e.due, e.order) for e in peers)
        assert entry.priority == taken.priority
        del self.rest[entry.key]
        self.active[entry.key] = None

    @precondition(lambda self: self.active)
    @rule(data=st.data(), delay=st.none() | st.integers(0, 20), priority=st.integers(-1, 2))
    def done(self, data: st.DataObject, delay: int | None, priority: int) -> None:
        key = data.draw(st.sampled_from(sorted(self.active)))
        due = None if delay is None else self.now + delay
        self.queue.done(key, now=self.now, due=due, priority=priority)
        kept = self.active.pop(key)
        if kept is not None:
            self.expect(key, kept.due, kept.priority)
        if due is not None:
            self.expect(key, due, priority)

    @invariant()
    def agrees(self) -> None:
        assert len(self.queue) == len(self.rest)
        assert {entry.key for entry in self.queue.entries()} == set(self.rest)
        due = self.queue.next_due()
        if not self.rest:
            assert due is None
        else:
            assert due is not None
            assert max(due, self.now) == max(min(e.due for e in self.rest.values()), self.now)


QueueAgainstModel.TestCase.settings = settings(max_examples=100, stateful_step_count=40, deadline=None)
TestQueueAgainstModel = QueueAgainstModel.TestCase
