"""Tests on a Milvus server run where its environment is built; where not, a skip names how to build it."""

import pytest

from core import environments
from core.errors import LlmcfError
from core.settings import PROJECT
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
