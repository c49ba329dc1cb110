"""Lineage from a release and a figure to raw files, and back down; what changes or goes is seen in all that follows."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from core import measurements, steps, storage
from core.settings import Workspace
from llmcf.backfill.cells import data_of
from llmcf.cli import app
from llmcf.lineage.show import show
from tests import trained_runs

HOME = "movielens-100k/shuffled-ties/latest"
RANKER, TOWER = f"{HOME}/ranking/deepfm-none-strict-s2023", f"{HOME}/retrieval/sasrec-none-strict-s2023"


@pytest.fixture
def runs(ws: Workspace) -> tuple[Path, Path]:
    """A ranker, a retrieval model and a release of both, and a line of the ranker's figures."""
    ranker, tower = trained_runs.rank(ws), trained_runs.retrieve(ws)
    trained_runs.release(ws, ranker, tower)
    stamp = storage.read_json(ranker / steps.STAMP)
    line = {
        "order": ws.order, "as_of": ws.as_of, "config": stamp["config"], "code": stamp["key"][:12],
        "data": data_of(ws), "metrics": stamp["summary"]["metrics"],
        "machine": "a box, 2026-01-31 06:34 UTC", "command": "llmcf backfill ranking --workers 2",
    }  # fmt: skip
    measurements.append(measurements.file("ranking", ws.dataset), line, same=("config",))
    return ranker, tower


def walked(asked: str, **options: Any) -> dict[str, dict[str, Any]]:
    """The nodes by id."""
    return {node["id"]: node for node in show(asked, **options).details["nodes"]}


def words(nodes: dict[str, dict[str, Any]]) -> set[str]:
    return {node["state"] for node in nodes.values()}


def test_a_release_goes_back_to_the_raw_files(runs: tuple[Path, Path], raw: Path) -> None:
    found = walked("release:1")
    files = {f"raw/{name}" for name in ("u.data", "u.item", "u.user")}
    assert set(found) == {
        "release:movielens-100k/1", "collection:tiny_items_v1_0123456789ab", RANKER, TOWER,
        f"{HOME}/training", f"{HOME}/data", *files,
    }  # fmt: skip
    assert words(found) == {"current"}
    assert {found[name]["kind"] for name in files} == {"raw file"}
    assert found["raw/u.data"]["digest"] == storage.sha256(raw / "u.data")
    assert found[RANKER]["verb"].endswith("--model deepfm --framework none --recipe strict --seed 2023")
    assert found[f"{HOME}/data"]["verb"].startswith("llmcf data prepare --dataset movielens-100k")
    assert found["release:movielens-100k/1"]["verb"].startswith("llmcf export --dataset")
    assert all(found[name]["made"].endswith("Z") for name in (RANKER, TOWER, f"{HOME}/data"))


def test_a_changed_raw_file_is_seen_in_all_that_was_made_of_it(runs: tuple[Path, Path], raw: Path) -> None:
    before = storage.sha256(raw / "u.item")[:12]
    with (raw / "u.item").open("a") as stream:
        stream.write("\n")
    found = walked(str(raw / "u.item"), up=False)
    below = set(found) - {"raw/u.item"}
    assert {f"{HOME}/data", f"{HOME}/features", RANKER, TOWER, "release:movielens-100k/1"} < below
    assert "results/ranking/movielens-100k.jsonl:1" in below
    assert {found[name]["state"] for name in below} == {"stale"}
    now = storage.sha256(raw / "u.item")[:12]
    assert found[f"{HOME}/data"]["why"] == [f"raw/u.item was {before} and is {now}"]
    assert found[f"{HOME}/features"]["why"] == [f"{HOME}/data is stale"]
    assert found["raw/u.item"]["state"] == "current"


def test_a_run_that_was_trained_again_leaves_its_release_and_figure_stale(
    runs: tuple[Path, Path], ws: Workspace
) -> None:
    shutil.rmtree(runs[0])
    trained_runs.rank(ws, signal=2.0, learning_rate=0.5)
    found = walked(RANKER, up=False)
    assert found["release:movielens-100k/1"]["state"] == "stale"
    assert found["results/ranking/movielens-100k.jsonl:1"]["state"] == "stale"
    assert found[RANKER]["state"] == "current"
    assert walked("release:1")[TOWER]["state"] == "current"


def test_a_figure_is_of_the_values_of_rows_and_texts_and_not_of_their_bytes(
    runs: tuple[Path, Path], ws: Workspace
) -> None:
    file = measurements.file("ranking", ws.dataset)
    line = measurements.read(file)[0]
    values = storage.values_digest(ws.path("training", "rows.parquet"))
    assert values.startswith(line["data"])
    assert values != storage.sha256(ws.path("training", "rows.parquet"))
    measurements.append(file, line | {"data": "c4466ca05d2f"}, same=("data",))
    measurements.append(file, line | {"of_texts": {"training/rows.parquet": "of_before"}}, same=("of_texts",))
    found = walked(str(ws.path("training")), up=False)
    states = [found[f"results/ranking/movielens-100k.jsonl:{number}"] for number in (1, 2, 3)]
    assert [one["state"] for one in states] == ["current", "stale", "stale"]
    assert states[1]["why"] == [f"{HOME}/training/rows.parquet was c4466ca05d2f and is {values[:12]}"]


def test_what_is_gone_is_missing_and_what_hangs_on_it_unknown(runs: tuple[Path, Path], raw: Path) -> None:
    (raw / "u.user").unlink()
    (runs[1] / "scores.parquet").unlink()
    found = walked("release:1")
    assert found["raw/u.user"]["state"] == "missing"
    assert found[f"{HOME}/data"]["state"] == "unknown"
    assert found[TOWER]["state"] == "missing"
    assert found["release:movielens-100k/1"]["state"] == "unknown"
    shutil.rmtree(runs[1])
    gone = walked("release:1")[TOWER]
    assert (gone["state"], gone["kind"]) == ("missing", "retrieval model")
    assert gone["verb"] == "llmcf retrieve train --dataset movielens-100k --order shuffled-ties"


def test_other_code_is_told_and_passed_on_to_nothing(runs: tuple[Path, Path], ws: Workspace) -> None:
    path = ws.path("data", steps.STAMP)
    stamp = storage.read_json(path)
    storage.write_json(path, stamp | {"source": {**stamp["source"], "digest": "0" * 64}})
    found = walked("release:1")
    assert [name for name, node in found.items() if node["other_code"]] == [f"{HOME}/data"]
    assert words(found) == {"current"}


def test_a_stamp_of_before_says_so_until_its_verb_runs_again(ws: Workspace) -> None:
    path = trained_runs.rank(ws) / steps.STAMP
    stamp = storage.read_json(path)
    storage.write_json(path, {name: value for name, value in stamp.items() if name not in ("inputs", "source", "made")})
    (node,) = walked(RANKER).values()
    assert node["state"] == "unknown"
    assert "names no inputs" in node["why"][0]
    trained_runs.rank(ws)
    assert storage.read_json(path)["key"] == stamp["key"]
    assert words(walked(RANKER)) == {"current"}
    assert f"{HOME}/training" in walked(RANKER)


def test_texts_lead_to_their_pack_and_the_model_that_wrote_them(ws: Workspace) -> None:
    model = "ab" * 32
    made = {"texts": {"model": model}, "vectors": {"encoder": "small", "hash": "cd" * 32}, "sets/base/texts": {}}
    made["sets/base/texts"] = {"pack": "amazon-beauty-base", "sha256": "ef" * 32, "recipe": "strict"}
    for name, config in made.items():
        steps.run(
            steps.Step(
                folder=ws.path("cot", *name.split("/")), config=config, inputs=[ws.path("data", "items.parquet")]
            ),
            lambda _: {"model": "recgen-s7@abababababab"},
        )
    tuned = steps.Step(folder=ws.path("recgen", "recgen-s7"), config={"method": "recgen", "seed": 7})
    steps.run(tuned, lambda _: {"hash": model})
    found = walked("cot/texts")
    assert found[f"{HOME}/recgen/recgen-s7"]["verb"].endswith("--method recgen --seed 7")
    part = next(one for one in found[f"{HOME}/cot/texts"]["inputs"] if one["id"] == f"{HOME}/data")
    assert (part["part"], part["changed"]) == ("items.parquet", False)
    assert found[f"{HOME}/cot/texts"]["state"] == "current"
    assert walked("cot/vectors")["model:small@cdcdcdcdcdcd"]["state"] == "missing"
    texts = walked("cot/sets/base/texts")
    assert texts[f"{HOME}/cot/sets/base/texts"]["verb"].startswith(
        "llmcf cot restore --pack amazon-beauty-base --set base --dataset movielens-100k"
    )
    assert texts[f"{HOME}/cot/sets/base/texts"]["state"] == "stale"  # the pack's file is another
    assert texts["pack:amazon-beauty-base"]["verb"].startswith("llmcf ")


def test_a_refreshed_release_leads_to_the_one_whose_weights_it_has(runs: tuple[Path, Path], ws: Workspace) -> None:
    trained_runs.release(ws, *runs, refreshed=1)
    found = walked("release:2")
    assert {one["id"] for one in found["release:movielens-100k/2"]["inputs"]} == {
        f"{HOME}/data", "release:movielens-100k/1", "collection:tiny_items_v2_0123456789ab",
    }  # fmt: skip
    assert RANKER in found


def test_a_tree_for_people(runs: tuple[Path, Path], raw: Path) -> None:
    with (raw / "u.data").open("a") as stream:
        stream.write("1\t2\t3\t875232000\n")
    text = show("release:live").details["text"]
    lines = text.splitlines()
    assert lines[0].startswith("release:movielens-100k/1  live release  ")
    assert "STALE" in lines[0]
    assert any(line.strip(" │├└─").startswith(f"{HOME}/data  tables  ") for line in lines)
    assert f"{HOME}/training  (above)" in text
    assert all(line == line.rstrip() for line in lines)
    down = show("data", up=False).details["text"]
    assert "results/ranking/movielens-100k.jsonl:1  line of results, 1 STALE" in down


def test_the_verb_prints_one_object(runs: tuple[Path, Path], capfd: pytest.CaptureFixture[str]) -> None:
    done = CliRunner().invoke(app, ["lineage", "show", "deepfm-none-strict-s2023", "--down", "--json"])
    assert done.exit_code == 0, done.output
    told = json.loads(capfd.readouterr().out)
    assert (told["details"]["direction"], told["dataset"]) == ("down", "movielens-100k")
    assert {node["id"] for node in told["details"]["nodes"]} == {
        RANKER, "release:movielens-100k/1", "results/ranking/movielens-100k.jsonl:1",
    }  # fmt: skip
