"""The server around the handlers: its socket, who may use it, what bodies it takes, how it fails."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from setpoint.api.bodies import MAX_BYTES
from setpoint.api.peers import Peer, peer_of
from setpoint.api.sockets import SocketTaken, listen_unix
from setpoint.api.streaming import Streams
from state.errors import Unavailable

NS = "/apis/setpoint.dev/v1alpha1/namespaces/default/containers"
MAPS = "/api/v1/namespaces/default/configmaps"
GROUP = 4711


@pytest.fixture
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="sock") as path:
        yield Path(path)


def test_the_socket_is_for_its_owner_and_group_alone(folder: Path) -> None:
    path = folder / "api.sock"
    with listen_unix(path):
        assert stat.S_IMODE(path.stat().st_mode) == 0o660


def test_a_socket_that_nobody_listens_on_is_replaced(folder: Path) -> None:
    path = folder / "api.sock"
    listen_unix(path).close()
    assert path.exists()
    with listen_unix(path):
        socket.socket(socket.AF_UNIX).connect(str(path))


def test_a_socket_in_use_is_left_alone(folder: Path) -> None:
    path = folder / "api.sock"
    with listen_unix(path):
        inode = path.stat().st_ino
        with pytest.raises(SocketTaken, match="another agent listens"):
            listen_unix(path)
        assert path.stat().st_ino == inode


def test_what_is_no_socket_is_left_alone(folder: Path) -> None:
    path = folder / "api.sock"
    path.write_text("precious")
    with pytest.raises(SocketTaken, match="no socket"):
        listen_unix(path)
    assert path.read_text() == "precious"


def test_a_path_that_is_too_long_is_said(folder: Path) -> None:
    with pytest.raises(SocketTaken, match="107 bytes"):
        listen_unix(folder / ("x" * 120))


@pytest.mark.parametrize(
    ("peer", "group", "may"),
    [
        pytest.param(Peer(1, 0, 0), None, True, id="root"),
        pytest.param(Peer(1, 0, 0), GROUP, True, id="root-with-group"),
        pytest.param(Peer(1, 1000, 1000), None, False, id="user-no-group"),
        pytest.param(Peer(1, 1000, GROUP), GROUP, True, id="primary"),
        pytest.param(Peer(1, 1000, 1000, frozenset({5, GROUP})), GROUP, True, id="supplementary"),
        pytest.param(Peer(1, 1000, 1000, frozenset({5})), GROUP, False, id="other-groups"),
        pytest.param(Peer(1, 1000, 0), None, False, id="group-root-is-not-root"),
    ],
)
def test_who_may_use_it(peer: Peer, group: int | None, may: bool) -> None:
    assert peer.may_use(group) is may


def test_the_kernel_tells_who_we_are() -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX)
    with ours, theirs:
        peer = peer_of(ours)
    assert (peer.pid, peer.uid, peer.gid) == (os.getpid(), os.geteuid(), os.getegid())


_AS_OTHER = """
import http.client, os, socket, sys
path, uid, gid, groups = sys.argv[1], *map(int, sys.argv[2:4]), [int(g) for g in sys.argv[4].split(",") if g]
os.setgroups(groups); os.setgid(gid); os.setuid(uid)
connection = http.client.HTTPConnection("x")
connection.sock = socket.socket(socket.AF_UNIX); connection.sock.connect(path)
connection.request("GET", "/api")
answer = connection.getresponse()
print(answer.status, answer.read().decode())
"""


@pytest.mark.kernel
@pytest.mark.skipif(os.geteuid() != 0, reason="becomes other users")
@pytest.mark.parametrize(
    ("uid", "gid", "groups", "code"),
    [
        pytest.param(0, 0, "", 200, id="root"),
        pytest.param(12345, 12345, "", 403, id="stranger"),
        pytest.param(12345, GROUP, "", 200, id="primary"),
        pytest.param(12345, 12345, f"5,{GROUP}", 200, id="supplementary"),
        pytest.param(12345, 12345, ",".join(str(n) for n in range(9000, 9400)), 403, id="many-other-groups"),
        pytest.param(12345, 12345, ",".join(str(n) for n in (*range(9000, 9200), GROUP)), 200, id="many-groups"),
        pytest.param(12345, 12345, ",".join(str(n) for n in (*range(9000, 9400), GROUP)), 200, id="very-many-groups"),
    ],
)
async def test_the_peer_is_checked_even_if_the_mode_is_open(
    serving: Any, store: Any, uid: int, gid: int, groups: str, code: int
) -> None:
    async with serving(store, group=GROUP) as api:
        assert api.socket.stat().st_gid == GROUP
        api.socket.parent.chmod(0o755)
        api.socket.chmod(0o666)
        child = await asyncio.create_subprocess_exec(
            sys.executable, "-S", "-c", _AS_OTHER, str(api.socket), str(uid), str(gid), groups, stdout=subprocess.PIPE
        )
        out, _ = await child.communicate()
    status, _, body = out.decode().partition(" ")
    assert int(status) == code
    if code == 403:
        assert json.loads(body)["reason"] == "Forbidden"


async def test_too_large_a_body_is_refused_by_its_length_and_by_its_bytes(api: Any) -> None:
    async def chunks() -> Any:
        for _ in range(4):
            yield b"x" * (1 << 20)

    declared = await api("POST", NS, b"x" * (MAX_BYTES + 1))
    assert (declared.code, declared.json["reason"]) == (413, "RequestEntityTooLarge")
    async with api.http.post(f"http://api{NS}", data=chunks(), headers={"Content-Type": "application/json"}) as response:
        assert response.status == 413


async def test_a_body_of_the_limit_is_read(api: Any) -> None:
    body = b'{"a": "' + b"x" * (MAX_BYTES - 9) + b'"}'
    assert len(body) == MAX_BYTES
    assert (await api("POST", NS, body)).code != 413


async def test_a_slow_body_is_given_up(serving: Any, store: Any) -> None:
    async with serving(store, slow_body_s=0.1) as api:
        reader, writer = await asyncio.open_unix_connection(str(api.socket))
        head = f"POST {MAPS} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 50\r\n\r\n{{"
        writer.write(head.encode())
        answer = await reader.readuntil(b"\r\n")
        writer.close()
        await writer.wait_closed()
    assert b"400" in answer


@pytest.mark.parametrize("media", ["application/vnd.kubernetes.protobuf", "text/html", "multipart/form-data"])
async def test_other_media_types_are_named(api: Any, media: str) -> None:
    answer = await api("POST", NS, b"k8s\x00", type=media)
    assert (answer.code, answer.json["reason"]) == (415, "UnsupportedMediaType")
    assert media in answer.json["message"]


class OnFire:
    """A store of which every read fails in a way that nobody foresaw."""

    async def get(self, _key: Any) -> Any:
        raise RuntimeError("secret innards")


async def test_unforeseen_errors_are_logged_once_and_shown_by_number(serving: Any) -> None:
    async with serving(OnFire()) as api:
        with capture_logs() as logs:
            answer = await api("GET", NS + "/web")
    assert answer.code == 500
    assert "innards" not in answer.text
    errors = [entry for entry in logs if entry["log_level"] == "error"]
    assert len(errors) == 1
    assert errors[0]["incident"] in answer.json["message"]


class Busy:
    """A store that cannot answer now."""

    async def get(self, _key: Any) -> Any:
        raise Unavailable("the disk is full", retry_after_s=5)


async def test_retry_after_is_a_header_too(serving: Any) -> None:
    async with serving(Busy()) as api:
        answer = await api("GET", NS + "/web")
    assert (answer.code, answer.headers["Retry-After"]) == (503, "5")


async def test_writes_are_recorded_without_their_values(api: Any) -> None:
    path = "/api/v1/namespaces/default/secrets"
    with capture_logs() as logs:
        await api("POST", path + "?fieldManager=me", {"metadata": {"name": "s"}, "stringData": {"k": "hunter2"}})
        await api("GET", path + "/s")
        await api("GET", MAPS)
        await api("DELETE", path + "/no")
    calls = [entry for entry in logs if entry["event"] == "api call"]
    assert [(c["verb"], c["code"]) for c in calls] == [("post", 201), ("get", 200), ("delete", 404)]
    assert calls[0]["objects"] == ("Secret/default/s",)
    assert (calls[0]["manager"], calls[0]["uid"], calls[0]["pid"]) == ("me", os.geteuid(), os.getpid())
    assert "hunter2" not in repr(logs)
    assert "aHVudGVyMg" not in repr(logs)


async def test_a_write_is_finished_though_its_client_left() -> None:
    streams = Streams()
    begun, go = asyncio.Event(), asyncio.Event()
    done: list[int] = []

    async def write() -> None:
        begun.set()
        await go.wait()
        done.append(1)

    handler = asyncio.ensure_future(streams.finish(write()))
    await begun.wait()
    handler.cancel()
    go.set()
    await streams.close()
    assert done == [1]


@pytest.mark.parametrize(
    ("path", "code", "text"),
    [
        pytest.param("/livez", 200, "ok", id="livez"),
        pytest.param("/healthz", 200, "ok", id="healthz"),
        pytest.param("/readyz", 200, "ok", id="readyz"),
        pytest.param("/readyz?verbose", 200, "[+]adoption ok\nreadyz check passed\n", id="verbose"),
    ],
)
async def test_health(api: Any, path: str, code: int, text: str) -> None:
    answer = await api("GET", path)
    assert (answer.code, answer.text) == (code, text)


async def test_not_ready_says_what_is_missing(api: Any) -> None:
    from setpoint.api.operations import Check

    api.operations.node.checks.append(Check("containerd", False, "cannot be reached"))
    answer = await api("GET", "/readyz")
    assert answer.code == 503
    assert "[-]containerd failed: cannot be reached" in answer.text
    assert (await api("GET", "/livez")).code == 200


async def test_ping_and_metrics(api: Any) -> None:
    assert "not Docker" in (await api("GET", "/_ping")).text
    await api("GET", NS + "/no")
    metrics = await api("GET", "/metrics")
    assert metrics.headers["Content-Type"].startswith("text/plain")
    assert 'setpoint_api_requests_total{code="404",verb="GET"} 1.0' in metrics.text
    assert "setpoint_api_streams 0.0" in metrics.text
