"""What the application says of itself where nothing is served."""

from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from llmcf.service.app import create_app


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("OPTIONS", "/items", "GET, POST"),
        ("DELETE", "/recommendations/batch", "POST"),
        ("DELETE", "/recommendations/7", "GET"),
    ],
)
def test_a_wrong_method_is_told_all_that_the_address_takes(method: str, path: str, allowed: str) -> None:
    answer = TestClient(create_app("shop", Path("nowhere"))).request(method, path)
    assert answer.status_code == 405
    assert answer.headers["allow"] == allowed
    assert answer.headers["content-type"] == "application/problem+json"
