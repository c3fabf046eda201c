"""Encryption at rest: AES-256-GCM, one random nonce per row, the row's place as associated data.

The key file holds one key a line, ``ID BASE64``; the first one writes, all of them read, so that a key is changed by putting
a new line on top. It is made, mode 0600, when the first secret is written. A key that is lost makes exactly its own rows
unreadable; a new one is not made while such rows exist, for the file may only be missing for the moment.
"""

from __future__ import annotations

import base64
import hashlib
import os
import threading
from collections.abc import Callable
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from state.errors import Unavailable

_NONCE_BYTES = 12
_KEY_BYTES = 32


class SecretBox:
    """Seals and opens rows. Reads its file again whenever a key is missing. Safe to use from several threads."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._keys: dict[str, AESGCM] = {}
        self._primary = ""
        self._lock = threading.Lock()

    def seal(self, plain: bytes, place: bytes, *, in_use: Callable[[], bool]) -> tuple[str, bytes]:
        """(key id, sealed row). ``in_use`` tells whether sealed rows exist. Raises Unavailable without a key to write with."""
        with self._lock:
            if not self._primary:
                self._load()
            if not self._primary:
                if in_use():
                    raise Unavailable(
                        f"the key file {self.path} is missing but secrets are stored under it: "
                        "put it back, or delete the secrets that are lost"
                    )
                self._make()
            nonce = os.urandom(_NONCE_BYTES)
            return self._primary, nonce + self._keys[self._primary].encrypt(nonce, plain, place)

    def open(self, key_id: str, sealed: bytes, place: bytes) -> bytes:
        """The row again. Raises Unavailable when its key is lost or the row was changed."""
        with self._lock:
            if key_id not in self._keys:
                self._load()
            key = self._keys.get(key_id)
        if key is None:
            raise Unavailable(
                f"{place.decode(errors='replace')} cannot be read: its key {key_id} is not in {self.path}; "
                "put the key file back, or delete the secret and make it again"
            )
        try:
            return key.decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], place)
        except InvalidTag as exc:
            raise Unavailable(
                f"{place.decode(errors='replace')} cannot be read: the row does not fit its key {key_id}"
            ) from exc

    def _load(self) -> None:
        """Keys that were known stay known: a file that is gone takes nothing from a running agent."""
        try:
            lines = self.path.read_text().split("\n")
        except FileNotFoundError:
            return
        except (OSError, UnicodeDecodeError) as exc:
            raise Unavailable(f"the key file {self.path} cannot be read: {exc}") from exc
        found: list[str] = []
        for number, line in enumerate(lines, 1):
            if not line.strip() or line.startswith("#"):
                continue
            key_id, _, text = line.strip().partition(" ")
            try:
                key = base64.b64decode(text, validate=True)
                self._keys[key_id] = AESGCM(key)
            except ValueError as exc:
                raise Unavailable(f"the key file {self.path} is damaged in line {number}") from exc
            found.append(key_id)
        if found:
            self._primary = found[0]

    def _make(self) -> None:
        key_id, line = new_key()
        fresh = self.path.with_name(self.path.name + ".new")
        try:
            fresh.unlink(missing_ok=True)
            handle = os.open(fresh, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
            with os.fdopen(handle, "w") as file:
                file.write(line)
                file.flush()
                os.fsync(file.fileno())
            # link, not rename: a key file that appeared meanwhile is never written over
            os.link(fresh, self.path)
            fresh.unlink()
            folder = os.open(self.path.parent, os.O_RDONLY | os.O_DIRECTORY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)
        except OSError as exc:
            raise Unavailable(f"the key file {self.path} cannot be made: {exc}") from exc
        self._load()
        if key_id != self._primary:
            raise Unavailable(f"the key file {self.path} changed while it was made")


def new_key() -> tuple[str, str]:
    """A fresh key: its id, and its line of a key file."""
    key = os.urandom(_KEY_BYTES)
    key_id = hashlib.sha256(key).hexdigest()[:12]
    return key_id, f"{key_id} {base64.b64encode(key).decode()}\n"
