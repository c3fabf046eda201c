"""JSON lines, the loop and the pump's requests, in one process."""

from __future__ import annotations

import json
import os
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from setpoint.keeper.children import LOG_MAX_BYTES, Child, Program
from setpoint.keeper.loop import READ, Loop
from setpoint.keeper.pump import Pump
from setpoint.keeper.wire import Server, answers, read_json

UID = "6b0f7e55-1f0a-4c5e-9d5e-0123456789ab"
WISH = {"uid": UID, "id": "abc-1", "namespace": "default", "name": "web"}


class Client:
    def __init__(self, path: Path) -> None:
        self._sock = socket.socket(socket.AF_UNIX)
        self._sock.settimeout(5)
        self._sock.connect(str(path))
        self._file = self._sock.makefile("rwb")

    def raw(self, line: bytes) -> dict[str, Any]:
        self._file.write(line + b"\n")
        self._file.flush()
        return dict(json.loads(self._file.readline()))

    def ask(self, op: str, **fields: object) -> dict[str, Any]:
        return self.raw(json.dumps({"op": op, **fields}).encode())

    def close(self) -> None:
        self._file.close()
        self._sock.close()


@pytest.fixture
def socket_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return Path("pump.sock")


@pytest.fixture
def pump(tmp_path: Path) -> Pump:
    return Pump(Loop(), str(tmp_path / "data"), str(tmp_path / "run"))


@pytest.fixture
def client(tmp_path: Path, socket_path: Path) -> Iterator[Client]:
    loop = Loop()
    pump = Pump(loop, str(tmp_path / "data"), str(tmp_path / "run"))
    server = Server(loop, str(socket_path), pump.serve)
    end, told = os.pipe()
    loop.watch(end, READ, lambda _: loop.stop())
    thread = threading.Thread(target=loop.run)
    thread.start()
    client = Client(socket_path)
    yield client
    os.close(told)
    thread.join()
    os.close(end)
    client.close()
    pump.leave()
    server.close()


@pytest.mark.parametrize(
    ("line", "reason", "text"),
    [
        (b"", "BadRequest", "one line of JSON"),
        (b"{", "BadRequest", "one line of JSON"),
        (b"\xff\xfe", "BadRequest", "one line of JSON"),
        (b"[]", "BadRequest", "a JSON object"),
        (b"{}", "BadRequest", "op: missing"),
        (b'{"op":7}', "BadRequest", "op: 7 is no str"),
        (b'{"op":"nope"}', "BadRequest", "no such operation 'nope'"),
        (b'{"op":"open"}', "BadRequest", "uid: missing"),
        (b'{"op":"close","uid":"../etc"}', "Invalid", "not usable as a file name"),
        (b'{"op":"attach","uid":"abc"}', "NotFound", "no open streams"),
        (json.dumps({"op": "open", **WISH, "max_files": "5"}).encode(), "BadRequest", "max_files: '5' is no int"),
        (json.dumps({"op": "open", **WISH, "max_files": True}).encode(), "BadRequest", "max_files: True is no int"),
    ],
)
def test_bad_requests_are_answered_and_change_nothing(client: Client, line: bytes, reason: str, text: str) -> None:
    reply = client.raw(line)
    assert (reply["ok"], reply["error"]) == (False, reason)
    assert text in reply["message"]
    assert client.ask("list") == {"ok": True, "uids": []}


def test_requests_are_answered_in_order(client: Client) -> None:
    assert client.ask("open", **WISH)["launch"] == 1
    assert client.ask("open", **WISH)["launch"] == 2
    assert client.ask("list")["uids"] == [UID]
    assert client.ask("stats")["containers"][UID]["open"] == 1


def test_a_line_without_end_ends_the_connection(socket_path: Path, client: Client) -> None:
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(5)
        sock.connect(str(socket_path))
        with pytest.raises(OSError, match=r"Broken pipe|reset"):
            sock.sendall(b"x" * (64 << 20))
    assert client.ask("list")["ok"]


def test_an_answer_is_more_than_a_socket(socket_path: Path, client: Client) -> None:
    assert answers(str(socket_path), b'{"op":"list"}\n')
    with socket.socket(socket.AF_UNIX) as deaf:
        deaf.bind("deaf.sock")
        deaf.listen()
        assert not answers("deaf.sock", b"hello\n")
    assert not answers("nobody.sock", b"hello\n")


def test_kept_tails_go_after_their_days(pump: Pump, tmp_path: Path) -> None:
    for name, days in (("a_old_1", 8), ("a_young_2", 6), ("a_live_3", 8)):
        folder = tmp_path / "data" / "logs" / name
        folder.mkdir()
        (folder / ("1.log" if "live" in name else "tail")).write_text("x")
        for path in folder.iterdir():
            os.utime(path, (path.stat().st_mtime - days * 86400,) * 2)
    pump.sweep()
    assert sorted(path.name for path in (tmp_path / "data" / "logs").iterdir()) == ["a_live_3", "a_young_2"]


def test_a_broken_state_file_does_not_hold_up_the_others(pump: Pump, tmp_path: Path) -> None:
    for uid, text in (("bad", "{"), ("worse", '{"wish":{},"launches":7}'), ("empty", "")):
        (tmp_path / "run" / "io" / uid).mkdir()
        (tmp_path / "run" / "io" / uid / "state.json").write_text(text)
    pump.restore()


def test_what_a_child_prints_is_bounded(tmp_path: Path) -> None:
    (tmp_path / "keeper").mkdir()
    log = tmp_path / "keeper" / "chatty.log"
    child = Child(Loop(), Program("chatty", ("true",), "", "1", b""), str(tmp_path), str(tmp_path))
    log.write_bytes(b"line\n" * (LOG_MAX_BYTES // 5 + 1))
    child.bound_log()
    assert log.stat().st_size == 0
    assert 0 < (tmp_path / "keeper" / "chatty.log.1").stat().st_size <= 1 << 20
    child.bound_log()
    assert (tmp_path / "keeper" / "chatty.log.1").stat().st_size > 0


def test_an_unreadable_file_is_no_document(tmp_path: Path) -> None:
    (tmp_path / "list.json").write_text("[]")
    assert read_json(str(tmp_path / "list.json")) == {}
    assert read_json(str(tmp_path / "none.json")) == {}
