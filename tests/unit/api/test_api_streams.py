"""kill, why, log, exec and attach of one container over HTTP and websockets."""

from __future__ import annotations

import asyncio
import json
import signal
from typing import Any

import aiohttp
import pytest

from controllers.container.ports import StartFailed
from setpoint.api.containers import signal_number
from setpoint.testing.fake_operations import FakeSession
from state.errors import BadRequest, Conflict, NotFound, Unavailable

WEB = "/apis/setpoint.dev/v1alpha1/namespaces/default/containers/web"
V5, V4 = "v5.channel.k8s.io", "v4.channel.k8s.io"
ALL = "&stdin=true&stdout=true&stderr=true"


@pytest.fixture
async def web(api: Any) -> Any:
    await api.container("web")
    return api


@pytest.mark.parametrize(
    ("given", "number"),
    [
        ("SIGKILL", 9),
        ("KILL", 9),
        ("sigterm", 15),
        ("9", 9),
        (9, 9),
        ("64", 64),
        ("SIGRTMIN+3", signal.SIGRTMIN + 3),
        ("RTMAX-1", signal.SIGRTMAX - 1),
    ],
)
def test_signals(given: object, number: int) -> None:
    assert signal_number(given) == number


@pytest.mark.parametrize("given", ["", "0", "65", "SIGNOT", "-9", True, None, 1.5, [], "SIGRTMIN+99", "SIG"])
def test_what_is_no_signal(given: object) -> None:
    with pytest.raises(BadRequest, match="signal"):
        signal_number(given)


async def test_kill(web: Any) -> None:
    assert (await web("POST", WEB + "/kill", {"signal": "SIGUSR1"})).json["status"] == "Success"
    assert (await web("POST", WEB + "/kill")).code == 200
    assert [number for _, number in web.operations.containers.killed] == [signal.SIGUSR1, signal.SIGKILL]
    assert (await web("POST", WEB.replace("web", "no") + "/kill")).code == 404
    web.operations.containers.failure = Conflict("it does not run")
    answer = await web("POST", WEB + "/kill")
    assert (answer.code, answer.json["message"]) == (409, "it does not run")


async def test_why(web: Any) -> None:
    assert (await web("GET", WEB + "/why")).json == {"key": "Container/default/web", "next": "nothing"}


async def test_log_is_plain_text_and_passes_its_options(web: Any) -> None:
    containers = web.operations.containers
    containers.lines = [b"one\n", b"two\n"]
    query = "?tailLines=2&timestamps=true&sinceSeconds=1.5&previous=True"
    answer = await web("GET", WEB + "/log" + query)
    assert answer.text == "one\ntwo\n"
    assert answer.headers["Content-Type"].startswith("text/plain")
    asked = containers.log_requests[0]
    assert (asked.tail_lines, asked.timestamps, asked.since_seconds, asked.previous) == (2, True, 1.5, True)
    assert (await web("GET", WEB + "/log?limitBytes=5")).text == "one\nt"


@pytest.mark.parametrize(
    "query",
    ["tailLines=-1", "tailLines=x", "sinceSeconds=x", "sinceTime=noon", "sinceSeconds=1&sinceTime=2026-01-01T00:00:00Z"],
)
async def test_log_options_that_cannot_be_read(web: Any, query: str) -> None:
    assert (await web("GET", f"{WEB}/log?{query}")).code == 400


async def test_a_log_that_is_not_there_is_an_http_error(web: Any) -> None:
    web.operations.containers.failure = NotFound("no run before this one")
    answer = await web("GET", WEB + "/log?previous=true")
    assert (answer.code, answer.json["message"]) == (404, "no run before this one")


async def test_a_followed_log_is_let_go_when_the_client_leaves(web: Any) -> None:
    containers = web.operations.containers
    containers.lines = [b"one\n"]
    async with web.stream(WEB + "/log", follow="true") as response:
        assert await response.content.readline() == b"one\n"
        assert containers.following == 1
    await asyncio.wait_for(containers.left.wait(), 5)


async def test_a_quiet_followed_log_answers_before_its_first_line(web: Any) -> None:
    async with asyncio.timeout(5), web.stream(WEB + "/log", follow="true") as response:
        assert response.status == 200


async def frames(ws: aiohttp.ClientWebSocketResponse) -> list[tuple[int, bytes]]:
    return [(message.data[0], message.data[1:]) async for message in ws if message.type is aiohttp.WSMsgType.BINARY]


def join(api: Any, path: str, *protocols: str) -> Any:
    return api.http.ws_connect("http://api" + path, protocols=protocols or (V5,))


@pytest.mark.parametrize(("code", "status"), [(0, "Success"), (7, "Failure"), (137, "Failure")])
async def test_exec_carries_output_and_exit_code(web: Any, code: int, status: str) -> None:
    session = FakeSession([("stdout", b"out"), ("stderr", b"err")], code=code)
    web.operations.containers.sessions.append(session)
    async with join(web, WEB + "/exec?command=sh&command=-c&stdout=true&stderr=true&env=A=B&user=u&workingDir=/w") as ws:
        assert ws.protocol == V5
        *output, (channel, final) = await frames(ws)
    assert output == [(1, b"out"), (2, b"err")]
    assert channel == 3
    told = json.loads(final)
    assert told["status"] == status
    if code:
        assert told["reason"] == "NonZeroExitCode"
        assert told["details"]["causes"] == [{"reason": "ExitCode", "message": str(code)}]
    await asyncio.wait_for(session.closed.wait(), 5)
    _, asked = web.operations.containers.execs[0]
    assert (asked.command, asked.env, asked.user, asked.working_dir) == (("sh", "-c"), ("A=B",), "u", "/w")


async def test_exec_carries_stdin_its_end_and_sizes(web: Any) -> None:
    session = FakeSession(echo=True)
    web.operations.containers.sessions.append(session)
    async with join(web, WEB + "/exec?command=cat" + ALL) as ws:
        await ws.send_bytes(b"\0hello ")
        await ws.send_bytes(b"\0world")
        await ws.send_bytes(b'\4{"Width":80,"Height":24}')
        for junk in (b"", b"\4{", b'\4{"Width":"x"}', b'\4{"Width":-1,"Height":1}', b"\x07?"):
            await ws.send_bytes(junk)
        await ws.send_str("text is not for us")
        await ws.send_bytes(b"\xff\0")
        got = await frames(ws)
    assert b"".join(data for channel, data in got if channel == 1) == b"hello world"
    assert session.stdin_closed
    assert session.sizes == [(80, 24)]


async def test_v4_has_no_end_of_stdin(web: Any) -> None:
    session = FakeSession(echo=True)
    web.operations.containers.sessions.append(session)
    async with join(web, WEB + "/exec?command=cat" + ALL, V4) as ws:
        assert ws.protocol == V4
        await ws.send_bytes(b"\xff\0")
        await ws.send_bytes(b"\0x")
        assert (await ws.receive_bytes()) == b"\1x"
        assert not session.stdin_closed


async def test_streams_that_were_not_asked_for_are_not_sent(web: Any) -> None:
    session = FakeSession([("stdout", b"out"), ("stderr", b"err")])
    web.operations.containers.sessions.append(session)
    async with join(web, WEB + "/exec?command=sh&stdout=true") as ws:
        await ws.send_bytes(b"\0ignored")
        assert [channel for channel, _ in await frames(ws)] == [1, 3]
    assert session.stdin == b""


async def test_a_client_that_leaves_ends_the_session(web: Any) -> None:
    session = FakeSession(echo=True)
    web.operations.containers.sessions.append(session)
    async with join(web, WEB + "/exec?command=cat" + ALL) as ws:
        await ws.send_bytes(b"\0x")
        await ws.receive_bytes()
    await asyncio.wait_for(session.closed.wait(), 5)


async def test_a_client_that_is_cut_off_ends_the_session(web: Any) -> None:
    session = FakeSession(echo=True)
    web.operations.containers.sessions.append(session)
    ws = await join(web, WEB + "/exec?command=cat" + ALL)
    await ws.send_bytes(b"\0x")
    await ws.receive_bytes()
    ws._response.connection.transport.abort()
    await asyncio.wait_for(session.closed.wait(), 5)


async def test_stopping_the_server_ends_sessions(web: Any) -> None:
    session = FakeSession(echo=True)
    web.operations.containers.sessions.append(session)
    async with join(web, WEB + "/exec?command=cat" + ALL) as ws:
        await ws.send_bytes(b"\0x")
        await ws.receive_bytes()
        stopping = asyncio.ensure_future(web.server.stop())
        await asyncio.wait_for(session.closed.wait(), 5)
        await ws.close()
        await stopping


class Failing(FakeSession):
    """Breaks in the middle."""

    def __init__(self, failure: Exception) -> None:
        super().__init__()
        self._failure = failure

    async def read(self) -> Any:
        raise self._failure


@pytest.mark.parametrize(
    ("failure", "code", "said"),
    [
        pytest.param(Unavailable("containerd went away"), 503, "containerd went away", id="known"),
        pytest.param(RuntimeError("innards"), 500, "incident", id="unforeseen"),
    ],
)
async def test_a_session_that_breaks_says_so_on_the_error_channel(web: Any, failure: Exception, code: int, said: str) -> None:
    session = Failing(failure)
    web.operations.containers.sessions.append(session)
    async with join(web, WEB + "/exec?command=sh&stdout=true") as ws:
        ((channel, final),) = await frames(ws)
    assert (channel, json.loads(final)["code"]) == (3, code)
    assert said in json.loads(final)["message"]
    assert "innards" not in final.decode()
    await asyncio.wait_for(session.closed.wait(), 5)


@pytest.mark.parametrize(
    ("failure", "reason", "causes"),
    [
        pytest.param(Conflict("not running"), "Conflict", None, id="not-running"),
        pytest.param(
            StartFailed("no such file: nope", 127),
            "NonZeroExitCode",
            [{"reason": "ExitCode", "message": "127"}],
            id="command-not-found",
        ),
    ],
)
async def test_what_cannot_start_says_so_on_the_error_channel(web: Any, failure: Any, reason: str, causes: Any) -> None:
    web.operations.containers.failure = failure
    async with join(web, WEB + "/exec?command=nope&stdout=true") as ws:
        ((channel, final),) = await frames(ws)
    told = json.loads(final)
    assert (channel, told["reason"], told["message"]) == (3, reason, failure.message)
    assert told.get("details", {}).get("causes") == causes


@pytest.mark.parametrize(
    ("path", "code"),
    [
        pytest.param(WEB + "/exec?stdout=true", 400, id="no-command"),
        pytest.param(WEB + "/exec?command=&stdout=true", 400, id="empty-command"),
        pytest.param(WEB + "/exec?command=sh", 400, id="no-stream"),
        pytest.param(WEB + "/exec?command=sh&stdout=1&env=novalue", 400, id="bad-env"),
        pytest.param(WEB + "/exec?command=sh&stdout=1&command=%00", 400, id="zero-byte"),
        pytest.param(WEB.replace("web", "no") + "/exec?command=sh&stdout=1", 404, id="no-container"),
        pytest.param(WEB.replace("web", "no") + "/attach?stdout=1", 404, id="attach-no-container"),
        pytest.param(WEB + "/attach", 400, id="attach-no-stream"),
    ],
)
async def test_requests_that_are_wrong_are_http_errors_and_start_nothing(web: Any, path: str, code: int) -> None:
    with pytest.raises(aiohttp.WSServerHandshakeError) as caught:
        await join(web, path)
    assert caught.value.status == code
    assert (await web("GET", path)).code == code
    assert web.operations.containers.execs == []


async def test_without_a_websocket_or_its_protocol_nothing_starts(web: Any) -> None:
    plain = await web("GET", WEB + "/exec?command=sh&stdout=true")
    assert (plain.code, "websocket" in plain.json["message"]) == (400, True)
    with pytest.raises(aiohttp.WSServerHandshakeError):
        await join(web, WEB + "/exec?command=sh&stdout=true", "v1.channel.k8s.io")
    assert web.operations.containers.execs == []


async def test_a_long_command_fits(web: Any) -> None:
    script = "x" * 200_000
    answer = await web("POST", WEB + "/exec?detach=true&command=sh&command=-c&command=" + script)
    assert answer.code == 201
    assert web.operations.containers.execs[0][1].command[2] == script


async def test_detached_exec_tells_the_pid(web: Any) -> None:
    answer = await web("POST", WEB + "/exec?command=sleep&command=9&detach=true")
    assert (answer.code, answer.json) == (201, {"pid": 4711})
    web.operations.containers.failure = StartFailed("no such file", 127)
    assert (await web("POST", WEB + "/exec?command=nope&detach=true")).code == 422


async def test_attach(web: Any) -> None:
    session = FakeSession([("stdout", b"live")], code=3)
    web.operations.containers.sessions.append(session)
    async with join(web, WEB + "/attach?stdout=true&stdin=true") as ws:
        got = await frames(ws)
    assert got[0] == (1, b"live")
    assert json.loads(got[1][1])["details"]["causes"][0]["message"] == "3"
    _, asked = web.operations.containers.attaches[0]
    assert (asked.stdin, asked.stdout, asked.stderr, asked.tty) == (True, True, False, False)
