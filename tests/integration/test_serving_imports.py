"""What serves needs no torch: a fresh process answers a request, by Feast, Milvus and Triton, and has not loaded it."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from core.contracts import FIRST_ID, RETRIEVAL_WIDTH
from core.data import features, tables
from core.data.prepare import prepare
from core.settings import PROJECT, Workspace
from ict.examples import ExampleSet
from ict.index import index
from llmcf.feature_store import jobs
from llmcf.serving.manifest import Release
from retrieval_stage import items
from tests import official_files
from tests.in_memory import item_vectors, write_cot_set
from tests.synthetic_release import write_release

pytestmark = pytest.mark.integration
ANSWER = """
import json, sys
from dataclasses import asdict
from llmcf.serving import releases, serve
from llmcf.serving.recommender import Recommender
from llmcf.serving.triton_client import Client

release = releases.read("movielens-100k", int(sys.argv[1]))
recommender = Recommender.load(release)
recommender.prepare()
with serve.connect(release) as server, Client(server, release.stages) as client:
    answer = recommender.recommend(client, sys.argv[2], 5)
print(json.dumps({"answer": asdict(answer), "modules": sorted(sys.modules)}))
"""


@pytest.fixture(scope="module")
def ws(own: Workspace, tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    made = Workspace("movielens-100k", "published")
    source = official_files.write(tmp_path_factory.mktemp("imports"), users=12, items=40, seed=1)
    prepare(made, source=source, seed=7)
    features.build(made)
    jobs.apply(made)
    jobs.join(made)
    jobs.materialize(made)
    return made


@pytest.fixture
def release(ws: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Release:
    """With examples in Milvus, and graphs that read them and the features."""
    monkeypatch.setenv("LLMCF_TRITON_MODELS", str(tmp_path))
    rows, count = tables.training_rows(ws), tables.items(ws).num_rows
    sample = torch.from_numpy(np.flatnonzero(rows["split"].to_numpy() == "train")[::3].copy())
    text_vectors = item_vectors(items=count)
    write_cot_set(ws, ExampleSet.of(rows, sample, torch.eye(16)[sample % 16], text_vectors))
    vectors = np.random.default_rng(0).standard_normal((count, RETRIEVAL_WIDTH), dtype=np.float32)
    published = items.publish(ws, np.arange(count) + FIRST_ID, vectors)
    collections = {"cot": index(ws).details["collection"], "items": published}
    return write_release(ws, collections=collections, item_vectors=text_vectors.numpy())


def test_a_process_that_answers_loads_no_torch(ws: Workspace, release: Release) -> None:
    users = tables.users(ws)
    row = tables.interactions(ws)["user"][-1].as_py()
    user = users["raw_id"][users["user"].to_pylist().index(row)].as_py()
    command = [sys.executable, "-c", ANSWER, str(release.number), user]
    done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout.splitlines()[-1])
    answer, modules = told["answer"], set(told["modules"])
    assert len(answer["items"]) == 5
    assert not answer["cold_start"]
    assert all(item["evidence"] for item in answer["items"])
    assert {"item features", "examples", "ranker"} <= set(answer["milliseconds"])
    assert {"feast", "pymilvus", "tritonclient"} <= modules
    assert not {"torch", "torchrec"} & modules
