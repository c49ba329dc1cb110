"""What differs between two releases."""

from dataclasses import replace
from pathlib import Path

import pytest

from core.errors import UsageError
from core.settings import Workspace
from llmcf.service.page import operations
from tests.synthetic_release import write_release

WS = Workspace("movielens-100k", "shuffled-ties")


@pytest.fixture(autouse=True)
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LLMCF_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("LLMCF_TRITON_MODELS", str(tmp_path / "models"))


def test_two_alike_differ_in_their_time_at_most() -> None:
    first, second = write_release(WS, seed=1), write_release(WS, seed=1, live=False)
    found = operations.differences(WS.dataset, first.number, second.number)
    assert {(one.group, one.name) for one in found} <= {("release", "created")}


def test_what_differs_is_named_with_both_values() -> None:
    first, second = write_release(WS, seed=1), write_release(WS, seed=2, live=False, collections={"cot": "b"})
    ranker = replace(second.stages["ranker"], backbone="dcn", metrics={"test": {"auc": 0.75}})
    replace(second, as_of="2026-01-01", stages={**second.stages, "ranker": ranker}).write(second.folder)
    ranker = replace(first.stages["ranker"], metrics={"test": {"auc": 0.5}})
    replace(first, stages={**first.stages, "ranker": ranker}).write(first.folder)
    found = {
        (one.group, one.name): (one.first, one.second, one.change)
        for one in operations.differences(WS.dataset, first.number, second.number)
    }
    assert found["release", "as of"] == ("latest", "2026-01-01", "")
    assert found["release", "collections cot"] == ("", "b", "")
    assert found["ranker", "backbone"] == ("synthetic", "dcn", "")
    assert found["ranker", "seed"] == ("1", "2", "")
    assert found["ranker, metrics", "test auc"] == ("0.5000", "0.7500", "+0.2500")
    assert ("user_vector", "seed") in found
    assert not any("sha256" in name or name == "number" for _, name in found)


def test_a_release_that_is_not_there_is_said() -> None:
    write_release(WS)
    with pytest.raises(UsageError, match="there is no release 7"):
        operations.differences(WS.dataset, 1, 7)
