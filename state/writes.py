"""What a write does to one object: Kubernetes' rules for create, replace, patch and delete, pure.

Objects that come in are never changed. Uids and times come in as text. The store calls these in one transaction with the
read of the old object; ``admission`` (schema, defaults, hints) is somebody else's and runs between. Source: Kubernetes,
registry/rest and apiextensions-apiserver; jsonpatch is RFC 6902, merge patch RFC 7386.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection
from typing import Any, Protocol

from state.errors import BadRequest, Cause, Conflict, Invalid
from state.fieldset import copied
from state.objects import FINALIZER, GROUP, Object
from state.resources import decoding
from state.resources.secret import fold_string_data
from state.store import DeleteOptions, Preconditions, Subresource

DELETE_OPTIONS = f"{GROUP}/delete-options"
"""Annotation: the options of the delete request, as JSON."""
FOREGROUND = "foregroundDeletion"
ORPHAN = "orphan"

_SUFFIX_LETTERS = "bcdfghjklmnpqrstvwxz2456789"
_FINALIZER = re.compile(r"[A-Za-z0-9]([-A-Za-z0-9_./]*[A-Za-z0-9])?")
_KEPT = ("uid", "creationTimestamp", "generation", "deletionTimestamp", "deletionGracePeriodSeconds", "generateName")


class KindRules(Protocol):
    """What the write rules need to know of a kind. ``state.resources.types.ResourceType`` is one."""

    @property
    def kind(self) -> str: ...

    @property
    def api_version(self) -> str: ...

    @property
    def namespaced(self) -> bool: ...

    @property
    def has_status(self) -> bool:
        """Whether ``status`` is a subresource."""

    @property
    def secret(self) -> bool:
        """Whether objects are encrypted at rest."""

    @property
    def selectable(self) -> Collection[str]:
        """Selectable fields besides ``metadata.name`` and ``metadata.namespace``."""


def incoming(obj: Object, rules: KindRules) -> Object:
    """A safe copy of what a client sent: the namespace filled in, of core kinds the version too, ``stringData`` folded."""
    new = decoding.copied(obj)
    meta = new.setdefault("metadata", {})
    if not isinstance(meta, dict):
        raise BadRequest("metadata must be an object", kind=rules.kind)
    for name in ("name", "namespace", "generateName", "uid", "resourceVersion"):
        if not isinstance(meta.get(name, ""), str):
            raise BadRequest(f"metadata.{name} must be a string, not {decoding.json_type(meta[name])}", kind=rules.kind)
    entries = meta.get("managedFields", [])
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise BadRequest("metadata.managedFields must be a list of objects", kind=rules.kind)
    if "/" not in rules.api_version:
        new.setdefault("apiVersion", rules.api_version)
    if rules.namespaced:
        meta["namespace"] = meta.get("namespace") or "default"
    elif meta.pop("namespace", ""):
        raise BadRequest(f"a {rules.kind} lives in no namespace: leave metadata.namespace out", kind=rules.kind)
    return fold_string_data(new) if rules.secret else new


def suffix(uid: str) -> str:
    """The five letters that ``generateName`` is completed with, drawn from a random uid."""
    number, letters = int(uid.replace("-", ""), 16), ""
    for _ in range(5):
        number, index = divmod(number, len(_SUFFIX_LETTERS))
        letters += _SUFFIX_LETTERS[index]
    return letters


def created(obj: Object, rules: KindRules, *, uid: str, now: str) -> Object:
    """The object as it is first stored, but for admission and its revision. A Container gets its finalizer here."""
    meta = dict(obj["metadata"])
    if meta.pop("resourceVersion", ""):
        raise BadRequest("resourceVersion should not be set on objects to be created", kind=rules.kind)
    if not meta.get("name"):
        if not meta.get("generateName"):
            cause = Cause("metadata.name", "name or generateName is required", "FieldValueRequired")
            raise Invalid(f"a {rules.kind} needs a name", causes=[cause], kind=rules.kind)
        meta["name"] = f"{meta['generateName'][:58]}{suffix(uid)}"
    for name in ("deletionTimestamp", "deletionGracePeriodSeconds", "selfLink"):
        meta.pop(name, None)
    finalizers = meta.get("finalizers") or []
    if rules.kind == "Container" and isinstance(finalizers, list) and FINALIZER not in finalizers:
        meta["finalizers"] = [*finalizers, FINALIZER]
    new = {**obj, "metadata": {**meta, "uid": uid, "creationTimestamp": now, "generation": 1}}
    if rules.has_status:
        new.pop("status", None)
    if rules.kind == "Namespace":
        new["status"] = {"phase": "Active"}
    check_metadata(new, None)
    return new


def replaced(old: Object, new: Object, rules: KindRules, *, subresource: Subresource = "") -> Object:
    """``old`` written over with ``new`` through one endpoint. Raises Conflict for another revision or uid than it names."""
    was, meta = old["metadata"], dict(new["metadata"])
    for name in ("uid", "resourceVersion"):
        if meta.get(name) and meta[name] != was.get(name):
            raise stale(old, f"{name} {meta[name]} is not the present one, {was.get(name)}")
    for name in ("name", "namespace"):
        if meta.get(name, "") != was.get(name, ""):
            cause = Cause(f"metadata.{name}", "field is immutable")
            raise Invalid(f"{rules.kind} {was['name']}: {cause}", causes=[cause], kind=rules.kind, name=was["name"])
    given = meta.get("managedFields")
    if given == [{}]:
        given = []
    if subresource == "status":
        if not rules.has_status:
            raise BadRequest(f"a {rules.kind} has no status subresource", kind=rules.kind)
        if not isinstance(new.get("status", {}), dict):
            raise Invalid("the status must be an object", causes=[Cause("status", "must be an object")], kind=rules.kind)
        meta = dict(was)
        new = {**old, "status": new["status"]} if "status" in new else _without(old, "status")
    else:
        meta |= {name: was[name] for name in _KEPT if name in was}
        for name in _KEPT:
            if name not in was:
                meta.pop(name, None)
        if rules.has_status:
            new = {**_without(new, "status"), **({"status": old["status"]} if "status" in old else {})}
    meta["resourceVersion"] = was["resourceVersion"]
    meta.pop("managedFields", None)
    entries = was.get("managedFields") if given is None else given
    if entries:
        meta["managedFields"] = entries
    result = {**new, "metadata": meta}
    if subresource == "":
        check_metadata(result, old)
    return result


def with_generation(old: Object, new: Object, rules: KindRules) -> Object:
    """``new`` with the generation raised if anything that people declare changed."""
    left_out = {"metadata", "status"} if rules.has_status else {"metadata"}
    if _part(old, left_out) == _part(new, left_out):
        return new
    return {**new, "metadata": {**new["metadata"], "generation": old["metadata"].get("generation", 0) + 1}}


def deleting(old: Object, options: DeleteOptions, *, now: str, finalizer: str = "") -> Object:
    """``old`` with its deletion begun: the time, the request's options, and the propagation's finalizer if one is needed."""
    meta = dict(old["metadata"])
    if finalizer and finalizer not in meta.get("finalizers", ()) and "deletionTimestamp" not in meta:
        meta["finalizers"] = [*meta.get("finalizers", ()), finalizer]
    if "deletionTimestamp" not in meta:
        meta |= {"deletionTimestamp": now, "deletionGracePeriodSeconds": 0, "generation": meta.get("generation", 0) + 1}
    if options.options:
        written = json.dumps(options.options, separators=(",", ":"), sort_keys=True)
        meta["annotations"] = {**(meta.get("annotations") or {}), DELETE_OPTIONS: written}
    return {**old, "metadata": meta}


def finished(obj: Object) -> bool:
    """Deletion has begun and nothing holds the object any more."""
    meta = obj["metadata"]
    return "deletionTimestamp" in meta and not meta.get("finalizers")


def same(old: Object, new: Object) -> bool:
    """Nothing changed but, at most, the times of managed fields."""
    return unmanaged(old) == unmanaged(new) and _ownership(old) == _ownership(new)


def unmanaged(obj: Object) -> Object:
    """The object without its bookkeeping: what ``configured`` and ``unchanged`` are told apart by."""
    return {**obj, "metadata": _part(obj["metadata"], {"managedFields", "resourceVersion"})}


def check_preconditions(old: Object, preconditions: Preconditions | None) -> None:
    """Raises Conflict if the object is another one, or another revision, than the caller meant."""
    if preconditions is None:
        return
    meta = old["metadata"]
    if preconditions.uid and preconditions.uid != meta["uid"]:
        raise stale(old, f"precondition failed: uid {preconditions.uid} is not the present one, {meta['uid']}")
    if preconditions.revision and str(preconditions.revision) != meta["resourceVersion"]:
        present = meta["resourceVersion"]
        raise stale(old, f"precondition failed: resourceVersion {preconditions.revision} is not the present one, {present}")


def stale(obj: Object, why: str) -> Conflict:
    """The Conflict that tells a writer to read again."""
    kind, name = obj.get("kind", ""), obj["metadata"]["name"]
    return Conflict(f"{kind} {name}: {why}; read it again and retry", kind=kind, name=name)


def check_metadata(new: Object, old: Object | None) -> None:
    """Finalizers and owner references by Kubernetes' rules. Raises Invalid with every cause."""
    meta, causes = new["metadata"], []
    finalizers = meta.get("finalizers") or []
    if not isinstance(finalizers, list) or not all(isinstance(f, str) and _FINALIZER.fullmatch(f) for f in finalizers):
        causes.append(Cause("metadata.finalizers", "must be a list of qualified names"))
        finalizers = []
    if old is not None and "deletionTimestamp" in old["metadata"]:
        added = sorted(set(finalizers) - set(old["metadata"].get("finalizers") or ()))
        if added:
            message = f"no new finalizers can be added if the object is being deleted, found new finalizers {added}"
            causes.append(Cause("metadata.finalizers", message, "FieldValueForbidden"))
    causes += _owner_causes(meta)
    if causes:
        kind, name = new.get("kind", ""), str(meta.get("name", ""))
        raise Invalid(f"{kind} {name} is invalid: " + "; ".join(map(str, causes)), causes=causes, kind=kind, name=name)


def owner_uids(obj: Object) -> list[str]:
    """The uids of the owners, for looking up dependents."""
    return [reference["uid"] for reference in obj["metadata"].get("ownerReferences") or ()]


def merge_patch(target: Any, patch: Any) -> Any:
    """RFC 7386: maps are merged, null removes, all else replaces."""
    if not isinstance(patch, dict):
        return copied(patch)
    merged = copied(target) if isinstance(target, dict) else {}
    for name, value in patch.items():
        if value is None:
            merged.pop(name, None)
        else:
            merged[name] = merge_patch(merged.get(name), value)
    return merged


def json_patch(target: Object, operations: Any) -> Object:
    """RFC 6902. Raises BadRequest for a patch that cannot be read, Invalid for one that does not fit or whose test fails."""
    if not isinstance(operations, list):
        raise BadRequest("a JSON patch is a list of operations")
    box: dict[str, Any] = {"": copied(target)}
    for index, operation in enumerate(operations):
        if not isinstance(operation, dict) or not isinstance(operation.get("path"), str):
            raise BadRequest(f"JSON patch: operation {index} needs an op and a path")
        try:
            _operate(box, operation)
        except (KeyError, IndexError, ValueError, TypeError) as exc:
            what = f"JSON patch: operation {index} ({operation.get('op')} {operation['path']}) does not fit: {exc}"
            raise Invalid(what, causes=[Cause(operation["path"], str(exc))]) from exc
    result = box.get("")
    if not isinstance(result, dict):
        raise Invalid("JSON patch: what is left is no object")
    return result


def _operate(box: dict[str, Any], operation: Object) -> None:
    kind, path = operation.get("op"), _pointer(operation["path"])
    match kind:
        case "add":
            _put(box, path, copied(operation["value"]), insert=True)
        case "replace":
            _at(box, path)
            _put(box, path, copied(operation["value"]), insert=False)
        case "remove":
            _take(box, path)
        case "test":
            found = _at(box, path)
            if found != operation["value"] or isinstance(found, bool) is not isinstance(operation["value"], bool):
                raise ValueError("the test failed")
        case "copy":
            _put(box, path, copied(_at(box, _pointer(operation["from"]))), insert=True)
        case "move":
            source = _pointer(operation["from"])
            if len(source) < len(path) and path[: len(source)] == source:
                raise ValueError("an object cannot be moved into itself")
            _put(box, path, _take(box, source), insert=True)
        case _:
            raise BadRequest(f"JSON patch: no operation {kind!r}")


def _pointer(text: Any) -> list[str]:
    if not isinstance(text, str) or (text and not text.startswith("/")):
        raise ValueError(f"{text!r} is no JSON pointer")
    return [part.replace("~1", "/").replace("~0", "~") for part in text.split("/")]


def _at(box: Any, path: list[str]) -> Any:
    value = box
    for part in path:
        if isinstance(value, list):
            value = value[_index(part, len(value) - 1)]
        elif isinstance(value, dict):
            if part not in value:
                raise ValueError(f"there is no {part!r}")
            value = value[part]
        else:
            raise ValueError(f"there is nothing below a {type(value).__name__}")
    return value


def _index(part: str, last: int) -> int:
    if not re.fullmatch(r"0|[1-9][0-9]*", part) or int(part) > last:
        raise ValueError(f"no index {part!r}")
    return int(part)


def _put(box: dict[str, Any], path: list[str], value: Any, *, insert: bool) -> None:
    parent = _at(box, path[:-1])
    if isinstance(parent, list):
        if path[-1] == "-" and insert:
            parent.append(value)
        elif insert:
            parent.insert(_index(path[-1], len(parent)), value)
        else:
            parent[_index(path[-1], len(parent) - 1)] = value
    elif isinstance(parent, dict):
        parent[path[-1]] = value
    else:
        raise ValueError(f"there is nothing below a {type(parent).__name__}")


def _take(box: dict[str, Any], path: list[str]) -> Any:
    _at(box, path)
    parent = _at(box, path[:-1])
    if isinstance(parent, list):
        return parent.pop(_index(path[-1], len(parent) - 1))
    return parent.pop(path[-1])


def _owner_causes(meta: Object) -> list[Cause]:
    causes: list[Cause] = []
    references = meta.get("ownerReferences") or []
    if not isinstance(references, list):
        return [Cause("metadata.ownerReferences", "must be a list")]
    controllers = 0
    for index, reference in enumerate(references):
        where = f"metadata.ownerReferences[{index}]"
        if not isinstance(reference, dict):
            causes.append(Cause(where, "must be an object"))
            continue
        for name in ("apiVersion", "kind", "name", "uid"):
            if not isinstance(reference.get(name), str) or not reference[name]:
                causes.append(Cause(f"{where}.{name}", "is required", "FieldValueRequired"))
        if reference.get("uid") and reference["uid"] == meta.get("uid"):
            causes.append(Cause(f"{where}.uid", "an object cannot own itself"))
        if reference.get("namespace"):
            causes.append(Cause(f"{where}.namespace", "an owner lives in the same namespace, or in none"))
        controllers += reference.get("controller") is True
    if controllers > 1:
        causes.append(Cause("metadata.ownerReferences", "only one reference can have controller set to true"))
    return causes


def _ownership(obj: Object) -> list[Object]:
    return [_part(entry, {"time"}) for entry in obj["metadata"].get("managedFields") or ()]


def _part(obj: Object, left_out: Collection[str]) -> Object:
    return {name: value for name, value in obj.items() if name not in left_out}


def _without(obj: Object, name: str) -> Object:
    return _part(obj, {name})
