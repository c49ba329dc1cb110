"""The document says what the routes may answer."""

from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from llmcf.service import openapi
from llmcf.service.app import create_app
from llmcf.service.middleware import REQUEST_ID, TIMEOUT
from llmcf.service.openapi import ProblemDetails
from llmcf.service.problems import At, Problem


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    return create_app("shop", Path("nowhere")).openapi()


def test_a_problem_is_what_the_document_says() -> None:
    told = Problem(422, "unknown-item", "there is none", [At("/items/0", "unknown item")]).body("r-1")
    assert ProblemDetails(**told).model_dump() == told
    assert ProblemDetails(**Problem(404, "unknown-user", "nobody").body("r-2")).errors == []


def test_every_route_tells_its_problems_as_problems(document: dict[str, Any]) -> None:
    for path, methods in document["paths"].items():
        for told in methods.values():
            answers = told["responses"]
            assert {"400", "413", "422", "500"} <= set(answers), path
            assert ("503" in answers) == (path != "/health/live"), path
            assert ({"401", "403", "429"} <= set(answers)) == ("security" in told), path
            for status, answer in answers.items():
                assert REQUEST_ID in answer["headers"], (path, status)
                if status >= "400" and (path, status) != ("/health/ready", "503"):
                    assert list(answer["content"]) == ["application/problem+json"], (path, status)
            assert {REQUEST_ID, TIMEOUT} <= {one["name"] for one in told["parameters"]}, path
    assert "Retry-After" in document["paths"]["/recommendations"]["post"]["responses"]["503"]["headers"]
    assert "409" in document["paths"]["/items"]["post"]["responses"]
    ready = document["paths"]["/health/ready"]["get"]["responses"]["503"]
    assert set(ready["content"]) == {"application/json", "application/problem+json"}


def test_every_route_has_an_example_of_all_that_it_takes_and_gives(document: dict[str, Any]) -> None:
    """Each as its schema says."""

    def examples(told: dict[str, Any]) -> list[Any]:
        schema = told["schema"]
        if "$ref" in schema:
            schema = document["components"]["schemas"][schema["$ref"].rsplit("/", 1)[1]]
        return [told["example"]] if "example" in told else schema.get("examples", [])

    for path, methods in document["paths"].items():
        for method, told in methods.items():
            parts = {f"parameter {one['name']}": one for one in told.get("parameters", [])}
            parts |= {f"body {kind}": one for kind, one in told.get("requestBody", {}).get("content", {}).items()}
            for status, answer in told["responses"].items():
                parts |= {f"{status} {kind}": one for kind, one in answer["content"].items()}
            for name, part in parts.items():
                found = examples(part)
                assert found, f"{method} {path}: no example of {name}"
                for one in found:
                    Draft202012Validator({**part["schema"], "components": document["components"]}).validate(one)


def test_whatever_it_refers_to_is_there(document: dict[str, Any]) -> None:
    def references(told: Any) -> set[str]:
        if isinstance(told, dict):
            found = {told["$ref"].rsplit("/", 1)[1]} if "$ref" in told else set()
            return found.union(*map(references, told.values()))
        return set().union(*map(references, told)) if isinstance(told, list) else set()

    schemas = document["components"]["schemas"]
    assert references(document) <= set(schemas)
    assert not {"HTTPValidationError", "ValidationError"} & set(schemas)
    assert document["components"]["securitySchemes"]["key"]["name"] == "X-API-Key"


def test_lists_that_hold_nothing_twice_say_so(document: dict[str, Any]) -> None:
    schemas = document["components"]["schemas"]
    assert schemas["ScoreRequest"]["properties"]["items"]["uniqueItems"]
    assert schemas["RecommendationRequest"]["properties"]["candidates"]["anyOf"][0]["uniqueItems"]


def test_a_problem_without_words_is_nobody_s() -> None:
    with pytest.raises(KeyError):
        openapi.problems_of(418)
