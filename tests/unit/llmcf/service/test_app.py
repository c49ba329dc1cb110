"""What the application says of itself where nothing is served."""

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from fastapi.testclient import TestClient

from core.settings import PROJECT
from llmcf.service.admission import Admission
from llmcf.service.app import create_app
from llmcf.service.middleware import Front

WORKER = """
import sys
from pathlib import Path
import llmcf.service.worker
from llmcf.service.app import create_app
from llmcf.service.protocol import Protocol
create_app("shop", Path("nowhere")).openapi()
import ict.milvus, ict.replica, llmcf.online.reader, llmcf.serving.loading
import retrieval_stage.candidates, retrieval_stage.items, tritonclient.http
print(sorted({"torch", "torchrec", "transformers", "fbgemm_gpu"} & set(sys.modules)))
"""


def test_a_worker_imports_no_torch() -> None:
    """At its start and for its first request; the memory of one that has answered is looked at by test_service."""
    done = subprocess.run(
        [sys.executable, "-c", WORKER], cwd=PROJECT, capture_output=True, text=True, check=False, timeout=120
    )
    assert (done.returncode, done.stdout.strip()) == (0, "[]"), done.stderr


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


def test_the_front_refuses_for_those_who_are_about_to_enter_too() -> None:
    app = create_app("shop", Path("nowhere"))
    app.state.service = SimpleNamespace(admission=Admission(1, 1))
    (front,) = (one for one in app.user_middleware if one.cls is Front)
    full: Any = front.kwargs["full"]
    assert [full(working) for working in (0, 1, 2)] == [False, False, True]
