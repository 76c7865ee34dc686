"""An OpenAPI document as a page shows it: operations by tag, each with its fields and answers."""

from __future__ import annotations

import re
from http import HTTPStatus
from typing import Any, cast

import msgspec

METHODS = ("get", "post", "put", "patch", "delete")


class Field(msgspec.Struct, frozen=True):
    """A parameter, or a field of a body. ``where``: path, query or body."""

    name: str
    where: str
    kind: str
    required: bool
    said: str


class Operation(msgspec.Struct, frozen=True):
    """One operation."""

    method: str
    path: str
    title: str
    said: str
    fields: list[Field]
    answers: list[tuple[str, str]]


def groups(document: dict[str, Any]) -> list[tuple[str, list[Operation]]]:
    """Tag -> operations, in the document's order."""
    found: dict[str, list[Operation]] = {}
    for path, item in document["paths"].items():
        for method in METHODS:
            if method in item:
                described = cast("dict[str, Any]", item[method])
                tag = (described.get("tags") or ["other"])[0]
                found.setdefault(tag, []).append(_operation(method, path, described, document))
    return list(found.items())


def _operation(method: str, path: str, described: dict[str, Any], document: dict[str, Any]) -> Operation:
    parameters = cast("list[dict[str, Any]]", described.get("parameters") or [])
    fields = [
        Field(
            entry["name"],
            entry["in"],
            _kind(_part(entry, "schema"), document),
            bool(entry.get("required")),
            _plain(entry.get("description") or ""),
        )
        for entry in parameters
    ]
    schema = _schema(_part(described, "requestBody"))
    fields += _body(_resolved(schema, document), document)
    answers = [
        (status, _said(status, answer.get("description") or ""))
        for status, answer in sorted(_part(described, "responses").items())
    ]
    said = described.get("description") or _resolved(schema, document).get("description") or ""
    title = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", described.get("summary") or path).capitalize()
    return Operation(method.upper(), path, title, _plain(said), fields, answers)


def _part(of: dict[str, Any], name: str) -> dict[str, Any]:
    return cast("dict[str, Any]", of.get(name) or {})


def _schema(carrier: dict[str, Any]) -> dict[str, Any]:
    return _part(_part(_part(carrier, "content"), "application/json"), "schema")


def _body(schema: dict[str, Any], document: dict[str, Any]) -> list[Field]:
    needed = cast("list[str]", schema.get("required") or [])
    return [
        Field(name, "body", _kind(inner, document), name in needed, _plain(inner.get("description") or ""))
        for name, inner in _part(schema, "properties").items()
    ]


def _resolved(schema: dict[str, Any], document: dict[str, Any]) -> dict[str, Any]:
    reference = schema.get("$ref")
    if reference is None:
        return schema
    return document["components"]["schemas"][reference.rpartition("/")[2]]


def _kind(schema: dict[str, Any], document: dict[str, Any]) -> str:
    """A type in few words: ``string``, ``integer 0–10``, ``one of a, b``."""
    schema = _resolved(schema, document)
    for several in ("oneOf", "anyOf"):
        if several in schema:
            return " | ".join(dict.fromkeys(_kind(inner, document) for inner in schema[several]))
    if "enum" in schema:
        return " | ".join(str(value) for value in schema["enum"])
    kind = schema.get("type") or ""
    if kind == "array":
        return f"[{_kind(schema.get('items') or {}, document)}]"
    if "minimum" in schema and "maximum" in schema:
        return f"{kind} {_bound(schema['minimum'])}–{_bound(schema['maximum'])}"
    return str(kind)


def _bound(value: float) -> str:
    return str(int(value)) if value == int(value) else str(value)


def _said(status: str, text: str) -> str:
    """A description, unless it is the one that every answer of this status has."""
    known = HTTPStatus(int(status)).description if status.isdecimal() else ""
    return "" if text == known else _plain(text)


def _plain(text: str) -> str:
    return " ".join(text.replace("``", "`").split())
