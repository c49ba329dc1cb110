"""Tests on a Milvus server run where its environment is built; where not, a skip names how to build it."""

import pytest

from core import environments
from core.errors import LlmcfError
from core.settings import PROJECT
from tests.distribution import scope
from tests.milvus_server import run_milvus


def test_the_lane_runs_or_says_what_it_lacks() -> None:
    try:
        python = environments.python("milvus")
    except LlmcfError as error:
        assert "run `make env-milvus` first" in str(error)
        return
    assert list(python.parents[1].glob("lib/python3.11/site-packages/milvus/data/bin/milvus.lzma"))


def test_a_lane_that_was_never_built_names_the_target(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("LLMCF_ENVS", str(tmp_path))
    with pytest.raises(LlmcfError, match="run `make env-milvus` first"), run_milvus():
        pass
    assert "\nenv-milvus:" in (PROJECT / "Makefile").read_text(encoding="utf-8")


def test_files_that_need_the_server_go_to_one_worker_and_others_anywhere() -> None:
    needing = {f"tests/integration/test_{name}.py" for name in ("milvus", "milvus_search", "milvus_refresh")}
    assert len({scope(file) for file in needing}) == 1
    assert scope("tests/integration/test_online.py") == "tests/integration/test_online.py"
