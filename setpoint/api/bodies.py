"""Request bodies: bounded in size and time, decoded strictly.

Strict means: UTF-8, no duplicate key, no NaN, nothing that JSON cannot carry. YAML (of ``apply-patch+yaml``) is taken too,
without aliases: a few kilobytes of them expand to gigabytes.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import orjson
import yaml
from aiohttp import web

from state.errors import BadRequest, TooLarge, UnsupportedMedia
from state.objects import Object

MAX_BYTES = 3 << 20
"""Of one request that carries objects; etcd's limit upstream is of that order."""

MAX_YAML_BYTES = 256 << 10
"""Parsing YAML costs a hundred times what JSON costs, and the loop stands meanwhile."""

SLOW_S = 30.0
"""A body of objects that has not arrived by then is given up."""

STALL_S = 60.0
"""The same for each piece of a body that may be of any size."""

SLOW = web.AppKey("slow_body_s", float)


async def read_body(request: web.Request, *, limit: int = MAX_BYTES) -> bytes:
    """The whole body. Raises TooLarge, BadRequest (too slow)."""
    if (request.content_length or 0) > limit:
        raise _too_large(limit)
    chunks: list[bytes] = []
    size = 0
    seconds = request.app.get(SLOW, SLOW_S)
    try:
        async with asyncio.timeout(seconds):
            async for chunk in request.content.iter_any():
                size += len(chunk)
                if size > limit:
                    raise _too_large(limit)
                chunks.append(chunk)
    except TimeoutError:
        raise BadRequest(f"the request's body did not arrive within {seconds:g} s") from None
    return b"".join(chunks)


async def read_pieces(request: web.Request) -> AsyncIterator[bytes]:
    """A body of any size as it comes. Raises BadRequest when nothing comes for ``STALL_S``."""
    pieces = request.content.iter_any()
    while True:
        try:
            async with asyncio.timeout(STALL_S):
                piece = await anext(pieces, b"")
        except TimeoutError:
            raise BadRequest(f"nothing of the request's body arrived for {STALL_S:g} s") from None
        if not piece:
            return
        yield piece


def _too_large(limit: int) -> TooLarge:
    return TooLarge(f"the request's body is over the limit of {limit} bytes")


def decode_json(raw: bytes) -> Any:
    """Any JSON value. Raises BadRequest that says what and where."""
    try:
        value = orjson.loads(raw)
    except orjson.JSONDecodeError as exc:
        raise BadRequest(f"the body is not JSON: {exc}") from None
    try:
        # orjson keeps the last of two equal keys without a word; the standard library can be asked.
        json.loads(raw, object_pairs_hook=_unique)
    except (RecursionError, ValueError) as exc:
        raise BadRequest(f"the body is not JSON: {exc}") from None
    return value


def _unique(pairs: list[tuple[str, Any]]) -> None:
    if len(pairs) > 1:
        seen: set[str] = set()
        for key, _ in pairs:
            if key in seen:
                raise BadRequest(f'strict decoding error: duplicate field "{key}"')
            seen.add(key)


class _StrictYaml(yaml.CSafeLoader):
    """Safe YAML without duplicate keys."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[Any] = set()
        for key, _ in node.value:
            if key.value in seen:
                raise BadRequest(f'strict decoding error: duplicate field "{key.value}"')
            seen.add(key.value)
        return super().construct_mapping(node, deep)


def decode_yaml(raw: bytes) -> Any:
    """JSON, which it is in practice, or YAML of JSON's types."""
    if raw.lstrip()[:1] in (b"{", b"["):
        return decode_json(raw)
    if len(raw) > MAX_YAML_BYTES:
        raise TooLarge(f"a YAML body may have {MAX_YAML_BYTES} bytes; send JSON")
    try:
        if any(isinstance(event, yaml.AliasEvent) for event in yaml.parse(raw, Loader=yaml.CSafeLoader)):
            raise BadRequest("the body uses YAML aliases, which are not taken here: send it expanded")
        value = yaml.load(raw, Loader=_StrictYaml)  # noqa: S506 - a SafeLoader made stricter
        orjson.dumps(value)
    except (yaml.YAMLError, TypeError, RecursionError, UnicodeDecodeError) as exc:
        raise BadRequest(f"the body is not YAML of JSON's types: {exc}") from None
    return value


async def read_object(request: web.Request, *, optional: bool = False) -> Object:
    """The body as one JSON object; ``optional``: an empty body is an empty object."""
    media = request.content_type
    raw = await read_body(request)
    if not raw and optional:
        return {}
    if media in ("application/yaml", "application/apply-patch+yaml"):
        value = decode_yaml(raw)
    elif media in ("application/json", "application/merge-patch+json", "application/octet-stream"):
        value = decode_json(raw)
    else:
        raise UnsupportedMedia(f"content type {media!r} is not taken here; send application/json or application/yaml")
    if not isinstance(value, dict):
        raise BadRequest(f"the body must be one object, not {_name(value)}")
    return value


def _name(value: Any) -> str:
    return {list: "a list", str: "a string", bool: "a boolean", type(None): "null"}.get(type(value), "a number")
