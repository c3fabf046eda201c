"""A small synchronous client of the agent's socket, for the command line.

Only the standard library, because importing it must cost next to nothing. Errors of the API come out as those of
:mod:`state.errors`, an agent that cannot be reached as :class:`AgentUnreachable`.
"""

from __future__ import annotations

import builtins
import contextlib
import http.client
import json
import os
import socket
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import IO, Any
from urllib.parse import quote, urlencode

from state.errors import BadRequest, InDoubt, StateError, Unavailable, from_status
from state.objects import Object
from state.resources.types import ResourceType

DEFAULT_HOST = "unix:///run/setpoint/api.sock"
MERGE, JSON_PATCH = "application/merge-patch+json", "application/json-patch+json"

Query = Mapping[str, "str | int | bool | Sequence[str] | None"]
"""None and empty values are left out; True is ``true``; a sequence repeats the parameter."""


class AgentUnreachable(Unavailable):
    """Nobody answers at the socket, or we may not connect. ``message`` says which and what to do."""


@dataclass(frozen=True, slots=True)
class Change:
    """One watch event: ADDED, MODIFIED, DELETED or BOOKMARK."""

    type: str
    object: Object


def socket_path(host: str) -> str:
    """The path in ``unix:///run/setpoint/api.sock``; a bare path is taken too. Raises BadRequest."""
    path = host.removeprefix("unix://")
    if not path.startswith("/"):
        raise BadRequest(f"{host!r} is not a host: give unix:///path/of/api.sock")
    return path


def object_path(kind: ResourceType, namespace: str = "", name: str = "", sub: str = "") -> str:
    """The URL path of a collection, an object or a subresource."""
    parts = [kind.path.lstrip("/")]
    if namespace and kind.namespaced:
        parts += ["namespaces", namespace]
    parts += [part for part in (kind.plural, name, sub) if part]
    return "/" + "/".join(quote(part, safe="/") if part is parts[0] else quote(part, safe="") for part in parts)


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: str, timeout: float | None) -> None:
        super().__init__("setpoint", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        # A full queue of connections refuses at once with EAGAIN on a socket with a time limit; without one, connect waits.
        self.sock.connect(self._path)
        self.sock.settimeout(self.timeout)


class Client:
    """One agent. Every call is a connection of its own; ``timeout_s`` bounds the wait for an answer, not a stream's life."""

    def __init__(self, host: str = "", *, timeout_s: float = 60.0, user_agent: str = "setpoint") -> None:
        self.host = host or os.environ.get("SETPOINT_HOST", "") or DEFAULT_HOST
        self._path = socket_path(self.host)
        self._timeout_s = timeout_s
        self._user_agent = user_agent

    # Any path

    def request(
        self,
        method: str,
        path: str,
        *,
        query: Query | None = None,
        body: Any = None,
        content_type: str = "application/json",
        accept: str = "application/json",
    ) -> Any:
        """The parsed JSON answer, or text where the answer is none. ``body``: JSON value, bytes, or a binary file."""
        connection, response = self._send(method, path, query, body, {"Content-Type": content_type, "Accept": accept})
        raw = self._read(method, connection, response)
        if response.headers.get_content_type() == "application/json":
            return json.loads(raw)
        return raw.decode(errors="replace")

    def stream(self, method: str, path: str, *, query: Query | None = None, body: Any = None) -> Iterator[bytes]:
        """The answer in pieces, as they come, for as long as it takes. Closing the iterator leaves."""
        connection, response = self._send(method, path, query, body, {"Content-Type": "application/json"})
        try:
            connection.sock.settimeout(None)
            while chunk := response.read1(65536):
                yield chunk
        except (OSError, http.client.HTTPException) as exc:
            raise AgentUnreachable(f"the connection to {self.host} broke: {exc or type(exc).__name__}") from exc
        finally:
            connection.close()

    def lines(self, method: str, path: str, *, query: Query | None = None, body: Any = None) -> Iterator[Object]:
        """The answer as one JSON object per line."""
        rest = b""
        for chunk in self.stream(method, path, query=query, body=body):
            *whole, rest = (rest + chunk).split(b"\n")
            for line in whole:
                if line:
                    yield json.loads(line)

    # Objects

    def get(self, kind: ResourceType, namespace: str, name: str) -> Object:
        return self._object("GET", object_path(kind, namespace, name))

    def list(self, kind: ResourceType, namespace: str = "", *, labels: str = "", fields: str = "") -> Object:
        """The whole List; ``namespace=""``: all of them."""
        query = {"labelSelector": labels, "fieldSelector": fields}
        return self._object("GET", object_path(kind, namespace), query=query)

    def watch(
        self,
        kind: ResourceType,
        namespace: str = "",
        *,
        labels: str = "",
        fields: str = "",
        since: str = "",
        timeout_s: int = 0,
    ) -> Iterator[Change]:
        """Changes after ``since``; without it first ADDED for each object there is. Ends when the server says so.
        Raises Gone when ``since`` is too old."""
        query: Query = {
            "watch": True,
            "labelSelector": labels,
            "fieldSelector": fields,
            "resourceVersion": since,
            "timeoutSeconds": timeout_s or None,
            "allowWatchBookmarks": True,
        }
        for event in self.lines("GET", object_path(kind, namespace), query=query):
            if event["type"] == "ERROR":
                raise from_status(event["object"])
            yield Change(event["type"], event["object"])

    def create(self, kind: ResourceType, obj: Object, *, manager: str = "setpoint", dry_run: bool = False) -> Object:
        namespace = (obj.get("metadata") or {}).get("namespace") or "default"
        return self._object("POST", object_path(kind, namespace), query=_write(manager, dry_run), body=obj)

    def replace(self, kind: ResourceType, obj: Object, *, manager: str = "setpoint-edit", dry_run: bool = False) -> Object:
        meta = obj["metadata"]
        path = object_path(kind, meta.get("namespace", ""), meta["name"])
        return self._object("PUT", path, query=_write(manager, dry_run), body=obj)

    def patch(
        self,
        kind: ResourceType,
        namespace: str,
        name: str,
        patch: Any,
        *,
        type: str = MERGE,
        manager: str = "setpoint-patch",
        dry_run: bool = False,
    ) -> Object:
        path = object_path(kind, namespace, name)
        return self._object("PATCH", path, query=_write(manager, dry_run), body=patch, content_type=type)

    def delete(self, kind: ResourceType, namespace: str, name: str, **options: Any) -> Object:
        """``options``: DeleteOptions, such as ``gracePeriodSeconds``, ``preconditions``, ``propagationPolicy``, ``dryRun``."""
        return self._object("DELETE", object_path(kind, namespace, name), body=options)

    def apply(self, objects: Sequence[Object], **options: Any) -> builtins.list[Object]:
        """All or nothing; ``options`` are the other fields of ``POST /setpoint/v1/apply``. One result each, pruned last."""
        answer = self._object("POST", "/setpoint/v1/apply", body={"objects": [*objects], **options})
        results: list[Object] = answer["results"]
        return results

    def logs(self, kind: ResourceType, namespace: str, name: str, **query: Any) -> Iterator[bytes]:
        """``follow``, ``tailLines``, ``timestamps``, ``sinceSeconds``, ``sinceTime``, ``previous``."""
        return self.stream("GET", object_path(kind, namespace, name, "log"), query=query)

    def load_image(self, archive: IO[bytes]) -> builtins.list[str]:
        """Sends a tar; the references that it held. No time limit: its length is not known."""
        connection, response = self._send("POST", "/setpoint/v1/images/load", None, archive, {}, timeout=None)
        references: builtins.list[str] = json.loads(self._read("POST", connection, response))["references"]
        return references

    # How

    def _object(self, method: str, path: str, **how: Any) -> Object:
        answer: Object = self.request(method, path, **how)
        return answer

    def _send(
        self,
        method: str,
        path: str,
        query: Query | None,
        body: Any,
        headers: Mapping[str, str],
        timeout: float | None = -1.0,
    ) -> tuple[_UnixConnection, http.client.HTTPResponse]:
        connection = _UnixConnection(self._path, self._timeout_s if timeout == -1.0 else timeout)
        target = path + ("?" + encoded if (encoded := encode_query(query)) else "")
        data = body if body is None or isinstance(body, bytes) or hasattr(body, "read") else json.dumps(body).encode()
        try:
            connection.connect()
        except OSError as exc:
            connection.close()
            raise self._unreachable(exc) from exc
        try:
            # A server that refuses the body before its end has said why: the answer is read all the same.
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                connection.request(method, target, data, {"User-Agent": self._user_agent, **headers})
            response = connection.getresponse()
            if response.status >= 400:
                raise _error(response)
        except TimeoutError:
            connection.close()
            raise self._late(method) from None
        except (OSError, http.client.HTTPException) as exc:
            connection.close()
            raise self._broken(method, exc) from exc
        except BaseException:
            connection.close()
            raise
        return connection, response

    def _read(self, method: str, connection: _UnixConnection, response: http.client.HTTPResponse) -> bytes:
        try:
            return response.read()
        except TimeoutError:
            raise self._late(method) from None
        except (OSError, http.client.HTTPException) as exc:
            raise self._broken(method, exc) from exc
        finally:
            connection.close()

    def _unreachable(self, exc: OSError) -> AgentUnreachable:
        if isinstance(exc, FileNotFoundError):
            why = "there is no such socket; is the agent running?"
        elif isinstance(exc, ConnectionRefusedError):
            why = "nobody listens there; the agent is not running"
        elif isinstance(exc, PermissionError):
            why = "permission denied; use sudo, or join the socket's group"
        else:
            why = str(exc)
        return AgentUnreachable(f"cannot reach the agent at {self.host}: {why}")

    def _late(self, method: str) -> StateError:
        message = f"the agent at {self.host} did not answer within {self._timeout_s:g} s"
        return AgentUnreachable(message) if method == "GET" else InDoubt(f"{message}; whether it was done is not known")

    def _broken(self, method: str, exc: Exception) -> StateError:
        message = f"the connection to {self.host} broke: {exc or type(exc).__name__}"
        return AgentUnreachable(message) if method == "GET" else InDoubt(f"{message}; whether it was done is not known")


def _write(manager: str, dry_run: bool) -> Query:
    return {"fieldManager": manager, "dryRun": "All" if dry_run else None}


def encode_query(query: Query | None) -> str:
    pairs: list[tuple[str, str]] = []
    for name, value in (query or {}).items():
        if value is None or value is False or value == "":
            continue
        if value is True:
            pairs.append((name, "true"))
        elif isinstance(value, str | int | float):
            pairs.append((name, str(value)))
        else:
            pairs.extend((name, one) for one in value)
    return urlencode(pairs)


def _error(response: http.client.HTTPResponse) -> StateError:
    raw = response.read()
    try:
        status = json.loads(raw)
    except ValueError:
        status = None
    if isinstance(status, dict) and status.get("kind") == "Status":
        return from_status(status)
    return StateError(f"the agent answered {response.status}: {raw[:300].decode(errors='replace').strip()}")
