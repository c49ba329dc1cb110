"""Lineage of collections, with Milvus asked: which versions it holds, which an index or a release names and it lost."""

import numpy as np
import pytest

from core import steps
from core.settings import Workspace
from ict import milvus
from llmcf.lineage.show import show
from tests import trained_runs

pytestmark = pytest.mark.integration

KIND = "cot"


def publish(ws: Workspace, rows: int) -> str:
    """A version of that many rows, and the stamp that `cot index` leaves."""

    def work(_) -> dict[str, str]:
        records = milvus.Records(ids=np.arange(1, rows + 1), vectors={"key": np.eye(rows, 8, dtype=np.float32)})
        with milvus.connect(ws) as client:
            return {"collection": milvus.publish(client, ws, KIND, records)}

    step = steps.Step(folder=ws.path("cot", "index"), config={"rows": rows}, inputs=[ws.path("training")])
    steps.run(step, work)
    with milvus.connect(ws) as client:
        name = milvus.live_version(client, ws, KIND)
    assert name
    return name


def test_what_milvus_holds_and_what_it_lost(place: Workspace, monkeypatch: pytest.MonkeyPatch, tmp_path) -> None:
    monkeypatch.setenv("LLMCF_TRITON_MODELS", str(tmp_path / "models"))
    trained_runs.release(place, trained_runs.rank(place), trained_runs.retrieve(place))
    first, second = publish(place, 5), publish(place, 6)
    before = {node["id"]: node for node in show(second).details["nodes"]}
    assert "was not asked" in before[f"collection:{second}"]["note"]
    asked = {node["id"]: node for node in show(second, ask_milvus=True).details["nodes"]}
    assert list(asked)[1] == "movielens-100k/shuffled-ties/latest/cot/index"
    assert asked[f"collection:{second}"]["note"] == "live; 6 rows"
    assert asked[f"collection:{second}"]["state"] == "current"
    (older,) = show(first, ask_milvus=True).details["nodes"]
    assert (older["state"], older["digest"]) == ("unknown", first.rsplit("_", 1)[1])
    release = {node["id"]: node for node in show("release:1", ask_milvus=True).details["nodes"]}
    lost = release["collection:tiny_items_v1_0123456789ab"]
    assert (lost["state"], lost["note"]) == ("missing", "Milvus does not hold it")
    assert release["release:movielens-100k/1"]["state"] == "unknown"
