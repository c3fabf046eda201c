"""Bugs of one line, planted one at a time, and who finds each: a table of mutant and killer.

A bug is planted by swapping the code of the functions in a module for that of its source with one text replaced.
"""

from __future__ import annotations

import importlib
import inspect
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from setpoint.testing.container_life import lives

UNIT = Path(__file__).parent.parent / "unit" / "container"
RULES = "controllers.container.rules"


def plant(patch: pytest.MonkeyPatch, module_name: str, old: str, new: str) -> None:
    module = importlib.import_module(module_name)
    source = inspect.getsource(module)
    assert source.count(old) == 1, f"{module_name} has {source.count(old)} times {old!r}"
    planted = types.ModuleType(module_name)
    exec(compile(source.replace(old, new), f"{module_name} with a bug", "exec"), planted.__dict__)
    swapped = 0
    for name, function in _functions(module, module_name):
        code = _at(planted, name).__code__
        if code.co_code != function.__code__.co_code or code.co_consts != function.__code__.co_consts:
            patch.setattr(function, "__code__", code)
            swapped += 1
    assert swapped, "the bug changed nothing"


def _functions(module: types.ModuleType, module_name: str) -> Iterator[tuple[str, Any]]:
    for name, value in vars(module).items():
        if getattr(value, "__module__", "") != module_name:
            continue
        if inspect.isfunction(value):
            yield name, inspect.unwrap(value)
        elif inspect.isclass(value):
            for inner, method in vars(value).items():
                if inspect.isfunction(method):
                    yield f"{name}.{inner}", inspect.unwrap(method)


def _at(module: types.ModuleType, path: str) -> Any:
    found: Any = module
    for part in path.split("."):
        found = vars(found)[part]
    return inspect.unwrap(found)


def unit(name: str) -> Callable[[], bool]:
    """Whether a module of unit tests fails."""

    def run() -> bool:
        return (
            pytest.main(["-x", "-q", "-p", "no:cacheprovider", "--no-header", str(UNIT / f"{name}.py")])
            == pytest.ExitCode.TESTS_FAILED
        )

    return run


def storm(seeds: int, rate: float = 0.1) -> Callable[[], bool]:
    return lambda: bool(lives(range(seeds), rate=rate).failures)


TABLES, LAWS, EXITS, STATUS, VIEW = (
    unit(f"test_{name}") for name in ("decide_tables", "decide_laws", "restarting", "status", "view")
)

BUGS = [
    pytest.param(
        f"{RULES}.collecting",
        "return Plan(_collect(s, instance))",
        "return Plan((Reap(instance.id),))",
        LAWS,
        id="reap unrecorded",
    ),
    pytest.param(
        f"{RULES}.collecting", "if told is None and not seen_running:", "if told is None:", TABLES, id="every loss is no exit"
    ),
    pytest.param(f"{RULES}.collecting", "<= 0:", "> 1e9:", TABLES, id="an exit of the run before"),
    pytest.param(f"{RULES}.collecting", 'in ("CREATED", "UNKNOWN")', 'in ("UNKNOWN",)', TABLES, id="half-made stays"),
    pytest.param(f"{RULES}.removing", "if not s.mem.buried:", "if False:", TABLES, id="no tombstone"),
    pytest.param(f"{RULES}.removing", "if s.seen.leftovers:", "if False:", TABLES, id="leftovers stay"),
    pytest.param(
        f"{RULES}.stopping", "s.want.grace_s < 0 else s.now", "s.want.grace_s <= 0 else s.now", TABLES, id="no grace is endless"
    ),
    pytest.param(f"{RULES}.stopping", "if s.seen.signalled is None:", "if False:", TABLES, id="a stop forgotten"),
    pytest.param(
        f"{RULES}.stopping", "< s.now.until(stopping.kill_at)", "> s.now.until(stopping.kill_at)", TABLES, id="prolonged"
    ),
    pytest.param(
        f"{RULES}.stopping", 'run_state == "Stopped" or s.want.halting', 'run_state == "Stopped"', TABLES, id="no halt"
    ),
    pytest.param(
        f"{RULES}.replacing", "if s.seen.resolution is None:", "if False:", storm(3), id="stopped before the image is known"
    ),
    pytest.param(f"{RULES}.replacing", "if current.writable and", "if False and", TABLES, id="put back over data"),
    pytest.param(
        f"{RULES}.replacing",
        "if s.mem.failed_hash == s.want.hash:\n        return _sweep",
        "if False:\n        return _sweep",
        TABLES,
        id="tried for ever",
    ),
    pytest.param(f"{RULES}.replacing", "i.revision != current.number and", "", TABLES, id="removes the current record"),
    pytest.param(f"{RULES}.waiting", "if left > 0:", "if False:", TABLES, id="no back-off"),
    pytest.param(f"{RULES}.running", "next_start=None,", "", TABLES, id="a wait outlives its start"),
    pytest.param(f"{RULES}.running", "        stopping=None,\n", "", TABLES, id="a stop outlives its task"),
    pytest.param(f"{RULES}.repairing", "launched.live != s.want.live", "False", TABLES, id="limits not followed"),
    pytest.param(f"{RULES}.unseen", "if s.want.held:", "if False:", LAWS, id="hold ignored"),
    pytest.param(f"{RULES}.unseen", "if not s.seen.fresh:", "if False:", LAWS, id="concludes from nothing"),
    pytest.param(f"{RULES}.quarantined", "if s.mem.quarantined:", "if False:", TABLES, id="no quarantine"),
    pytest.param("controllers.container.restarting", ", last_delay_s):", ", 0.0):", EXITS, id="resets too early"),
    pytest.param(
        "controllers.container.restarting",
        "failed = record.code is None or",
        "failed = record.code is not None and",
        EXITS,
        id="unknown is well",
    ),
    pytest.param("controllers.container.restarting", "age < within_s", "age <= within_s * 9", EXITS, id="budget window"),
    pytest.param(
        "controllers.container.restarting",
        "launched.instant.boot != now.boot and record.code is None",
        "False",
        EXITS,
        id="a reboot is a crash",
    ),
    pytest.param(
        "controllers.container.status", 'old.get("startedAt") == mem.launched.at', "True", STATUS, id="false evidence"
    ),
    pytest.param(
        "controllers.container.view",
        "before.get(id) if self._acted_since(id, asked) else listed.get(id)",
        "listed.get(id)",
        VIEW,
        id="an old list believed",
    ),
    pytest.param(
        "controllers.container.status",
        'was.get("status") == c.status',
        'was.get("reason") == c.reason',
        STATUS,
        id="transition by reason",
    ),
    pytest.param(
        "controllers.container.view",
        "elif id in self._in_flight and topic in _OURS_ANYWAY:",
        "if id in self._in_flight:",
        VIEW,
        id="exit in flight lost",
    ),
    pytest.param("controllers.container.view", "self._acted[id] = self._tick()", "pass", VIEW, id="own acts not dated"),
    pytest.param(
        "controllers.container.act", "await self._ports.ledger.put_all(changes)", "pass", storm(3), id="memory not durable"
    ),
    pytest.param("controllers.container.act", "self._view.signalled[step.id] = step", "pass", storm(6), id="asks for ever"),
]


@pytest.mark.timeout(120)
@pytest.mark.parametrize(("module", "old", "new", "killer"), BUGS)
def test_the_bug_is_found(monkeypatch: pytest.MonkeyPatch, module: str, old: str, new: str, killer: Callable[[], bool]) -> None:
    plant(monkeypatch, module, old, new)
    assert killer()


def test_without_a_bug_nobody_cries() -> None:
    assert not any(check() for check in (TABLES, LAWS, EXITS, STATUS, VIEW, storm(3)))
