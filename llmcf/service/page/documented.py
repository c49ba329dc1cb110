"""The API's documentation out of its OpenAPI document: routes, what they take and give, an example of each."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from llmcf.service.keys import HEADER
from llmcf.service.middleware import REQUEST_ID, TIMEOUT

_DEEP = 6  # levels of an example
_OURS = {"HTTPValidationError", "ValidationError"}  # FastAPI's, whose place a problem takes here
_TOLD_ONCE = {HEADER, REQUEST_ID, TIMEOUT}


@dataclass(frozen=True, slots=True)
class Field:
    """A parameter, or a field of a message; `default` is "" for one that must be there or has none."""

    name: str
    kind: str
    required: bool
    default: str
    text: str = ""


@dataclass(frozen=True, slots=True)
class Operation:
    """One route. `body` and `answer` name messages; `call` is a command line, `given` an answer's JSON."""

    method: str
    path: str
    text: str
    parameters: list[Field]
    body: str
    answer: str
    call: str
    given: str

    @property
    def anchor(self) -> str:
        return f"{self.method}{self.path}".lower().translate(str.maketrans("/{}", "---"))


@dataclass(frozen=True, slots=True)
class Message:
    name: str
    text: str
    fields: list[Field]


def operations(document: Mapping[str, Any]) -> dict[str, list[Operation]]:
    """All routes by their tag, in the document's order."""
    found: dict[str, list[Operation]] = {}
    for path, methods in document["paths"].items():
        for method, told in methods.items():
            found.setdefault(told.get("tags", ["others"])[0], []).append(_operation(document, path, method, told))
    return found


def messages(document: Mapping[str, Any]) -> list[Message]:
    """The bodies of requests and answers."""
    schemas = document.get("components", {}).get("schemas", {})
    return [
        Message(name, told.get("description", ""), list(_fields(told)))
        for name, told in sorted(schemas.items())
        if name not in _OURS
    ]


def _operation(document: Mapping[str, Any], path: str, method: str, told: Mapping[str, Any]) -> Operation:
    body = _schema(told.get("requestBody", {}))
    good = next((one for status, one in told["responses"].items() if status.startswith("2")), {})
    answer = _schema(good)
    parameters = [
        Field(
            name=f"{one['name']} ({one['in']})",
            kind=_kind(one["schema"]),
            required=one.get("required", False),
            default=_default(one["schema"]),
            text=one.get("description", ""),
        )
        for one in told.get("parameters", [])
        if one["name"] not in _TOLD_ONCE
    ]
    call = f"curl -X {method.upper()} $ADDRESS{path}" if method != "get" else f"curl $ADDRESS{path}"
    if body:
        sent = json.dumps(_example(document, body), ensure_ascii=False)
        call += f" \\\n  -H 'Content-Type: application/json' \\\n  -d '{sent.replace(chr(39), chr(92) + 'u0027')}'"
    return Operation(
        method=method.upper(),
        path=path,
        text=told.get("description", told.get("summary", "")),
        parameters=parameters,
        body=_kind(body) if body else "",
        answer=_kind(answer) if answer else "",
        call=call,
        given=json.dumps(_example(document, answer), indent=2, ensure_ascii=False) if answer else "",
    )


def _schema(told: Mapping[str, Any]) -> Mapping[str, Any]:
    return told.get("content", {}).get("application/json", {}).get("schema", {})


def _fields(told: Mapping[str, Any]) -> Iterator[Field]:
    needed = set(told.get("required", []))
    for name, one in told.get("properties", {}).items():
        yield Field(name, _kind(one), name in needed, _default(one), one.get("description", ""))


def _default(told: Mapping[str, Any]) -> str:
    return json.dumps(told["default"]) if "default" in told else ""


def _kind(told: Mapping[str, Any]) -> str:
    """A schema in words, with its bounds."""
    if "$ref" in told:
        return _name(told)
    if "anyOf" in told:
        return " or ".join(_kind(one) for one in told["anyOf"])
    if "const" in told or "enum" in told:
        return " or ".join(json.dumps(one) for one in told.get("enum", [told.get("const")]))
    kind = told.get("type", "any")
    if kind == "array":
        kind = f"list of {_kind(told.get('items', {}))}"
    bounds = [
        f"{words} {told[name]}"
        for name, words in (
            ("minimum", "from"),
            ("maximum", "to"),
            ("minLength", "at least"),
            ("maxLength", "at most"),
            ("minItems", "at least"),
            ("maxItems", "at most"),
        )
        if name in told
    ]
    return f"{kind} ({', '.join(bounds)})" if bounds else kind


def _name(told: Mapping[str, Any]) -> str:
    return told["$ref"].rsplit("/", 1)[1]


def _example(document: Mapping[str, Any], told: Mapping[str, Any], depth: int = 0) -> Any:
    """What a schema allows: its own example if it has one, else its defaults and something of each type."""
    if "$ref" in told:
        told = document["components"]["schemas"][_name(told)]
    if told.get("examples"):
        return told["examples"][0]
    if "default" in told:
        return told["default"]
    if "anyOf" in told:
        return _example(document, told["anyOf"][0], depth)
    if "enum" in told or "const" in told:
        return told.get("const", told.get("enum", [None])[0])
    match told.get("type"):
        case "object" if "properties" in told and depth < _DEEP:
            return {name: _example(document, one, depth + 1) for name, one in told["properties"].items()}
        case "array" if depth < _DEEP:
            return [_example(document, told.get("items", {}), depth + 1)]
        case kind:
            empty = {"string": "text", "integer": 1, "number": 0.5, "boolean": True, "array": [], "object": {}}
            return empty.get(kind or "")
