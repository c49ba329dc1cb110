"""What is said of an API out of its OpenAPI document."""

import json
import shlex
from typing import Annotated, Literal

import pytest
from fastapi import FastAPI, Header, Query
from pydantic import BaseModel, ConfigDict, Field

from llmcf.service.page import documented
from llmcf.service.page.documented import Operation


class Asked(BaseModel):
    """What is asked."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"who": "it's me"}]})

    who: Annotated[str, Field(min_length=1, max_length=9)]
    many: list[int] = []
    inner: "Asked | None" = None


class Part(BaseModel):
    name: str


class Told(BaseModel):
    state: Literal["on", "off"]
    parts: list[Part]
    score: float | None
    left: dict[str, float] = {}


@pytest.fixture
def document() -> dict[str, object]:
    app = FastAPI()

    @app.post("/things/{number}", tags=["things"])
    def make(
        number: int,
        asked: Asked,
        k: Annotated[int, Query(ge=1, le=9)] = 3,
        key: Annotated[str | None, Header(alias="X-API-Key")] = None,
    ) -> Told:
        """Make a thing."""
        raise NotImplementedError

    return app.openapi()


@pytest.fixture
def operation(document: dict[str, object]) -> Operation:
    return documented.operations(document)["things"][0]


def test_a_route_has_its_parameters_but_the_key(operation: Operation) -> None:
    assert (operation.method, operation.path, operation.text) == ("POST", "/things/{number}", "Make a thing.")
    told = [(one.name, one.kind, one.required, one.default) for one in operation.parameters]
    assert told == [("number (path)", "integer", True, ""), ("k (query)", "integer (from 1, to 9)", False, "3")]
    assert (operation.body, operation.answer) == ("Asked", "Told")
    assert operation.anchor == "post-things--number-"


def test_its_example_can_be_pasted(operation: Operation) -> None:
    words = shlex.split(operation.call.replace("\\\n", " "))
    assert words[:4] == ["curl", "-X", "POST", "$ADDRESS/things/{number}"]
    assert json.loads(words[-1]) == {"who": "it's me"}


def test_an_answer_is_made_of_its_schema(operation: Operation) -> None:
    assert json.loads(operation.given) == {"state": "on", "parts": [{"name": "text"}], "score": 0.5, "left": {}}


def test_messages_have_fields_in_words(document: dict[str, object]) -> None:
    found = {one.name: {field.name: field for field in one.fields} for one in documented.messages(document)}
    assert set(found) == {"Asked", "Part", "Told"}
    assert found["Asked"]["who"].kind == "string (at least 1, at most 9)"
    assert found["Asked"]["inner"].kind == "Asked or null"
    assert found["Told"]["state"].kind == '"on" or "off"'
    assert found["Told"]["parts"].kind == "list of Part"
    assert (found["Asked"]["many"].default, found["Asked"]["many"].required) == ("[]", False)
