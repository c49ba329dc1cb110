"""Releases of two days held against each other on the later day's rows: a good one passes, spoiled ones do not.

Real models of a shop with two camps of customers, real Milvus and Triton; the leak audit reads real tables.
"""

import dataclasses
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from core import schemas, steps, storage
from core.data import adding, asof, features, prepare, tables
from core.errors import LlmcfError
from core.settings import Workspace
from ict.examples import ExampleSet
from llmcf.cli import app
from llmcf.feature_store import registry
from llmcf.gates import answering, check, held_out
from llmcf.gates.answering import Answering
from llmcf.serving import export, listing, manifest, releases, thresholds, verdicts
from llmcf.serving.assemble import Choice
from llmcf.serving.manifest import Release
from ranking import trainer as ranking_trainer
from ranking.recipes import resolve
from ranking.runs import run_folder
from retrieval_stage import trainer as retrieval_trainer
from tests.in_memory import item_vectors, write_cot_set
from tests.shop import Shop

pytestmark = pytest.mark.integration
CHOICE = {"recipe": "strict", "seed": 1}
FRAMEWORKS = "llm-cf", "none"  # of the days' releases: the first reads examples, the second learns much in little time
EPOCHS = {"llm-cf": (1, 1), "none": (60, 3)}  # of the ranker, of the tower
DATASET = "corner-shop"
DAYS = [Workspace(DATASET, "shuffled-ties", day) for day in ("2025-03-07", "2025-03-08")]
PEOPLE, GOODS = 80, 30
GATES = """
decide_by = "estimate"
requests = 20
draws = 50
[auc]
bound = 0.6
margin = 0.1
[gauc]
bound = 0.6
margin = 0.2
[logloss]
bound = 1.0
margin = 0.2
[ece]
bound = 0.5
margin = inf
[hit]
bound = 0.0
margin = 0.5
[ndcg]
bound = 0.0
margin = 0.5
[p50]
bound = inf
margin = inf
[p99]
bound = inf
margin = inf
"""


def shop() -> Shop:
    """Everybody takes goods of one of two makers, one a day; some goods and customers come on the last day."""
    made, draw = Shop(people=PEOPLE, goods=GOODS, taken=0), np.random.default_rng(0)
    for n, good in enumerate(made.goods):
        good["maker"] = f"m{n % 2}"
    late_goods = {f"g{n}" for n in (GOODS - 2, GOODS - 1)}
    for n in range(PEOPLE):
        own = [good["sku"] for good in made.goods if good["maker"] == f"m{n % 2}" and good["sku"] not in late_goods]
        for day, sku in enumerate(draw.choice(own, 6, replace=False)):
            made.click(f"p{n}", sku, day + n / 1000)
        if n % 3 == 0:  # on the second day
            made.click(f"p{n}", f"g{GOODS - 2 + n % 2}", 6 + n / 1000)
    for n in range(4):
        made.people.append({"who": f"late{n}", "age": "30", "sex": "F"})
        for turn in range(4):
            made.click(f"late{n}", f"g{2 * turn + n % 2}", 6.5 + turn / 100)
    return made


def day_made(ws: Workspace) -> None:
    """A day's tables, its features joined by the reference, its examples, and an online store as far as one looks."""
    prepare.prepare(ws, source=None, seed=1)
    features.build(ws)

    def join(folder: Path) -> dict[str, Any]:
        joined = asof.attach(tables.rows(ws), tables.interactions(ws), tables.items(ws))
        storage.write_table(folder / "rows.parquet", joined, schemas.TRAINING_ROWS)
        return {}

    steps.run(steps.Step(folder=ws.path("training"), config={}, inputs=[ws.path("data")]), join)
    rows = tables.training_rows(ws)
    sample = torch.from_numpy(np.flatnonzero(rows["split"].to_numpy() == "train")[::5].copy())
    cot = torch.nn.functional.normalize(
        torch.randn(len(sample), 16, generator=torch.Generator().manual_seed(1)), dim=-1
    )
    vectors = item_vectors(items=tables.items(ws).num_rows)
    write_cot_set(ws, ExampleSet.of(rows, sample, cot, vectors), seed=len(rows))
    storage.write_json(ws.path("feast", registry.MATERIALIZED), {"release": registry.release(ws), registry.UNTIL: 0})


def released(day: int, *, promote: bool) -> Release:
    ws, choice = DAYS[day], {"framework": FRAMEWORKS[day], **CHOICE}
    ranker, tower = EPOCHS[FRAMEWORKS[day]]
    ranking_trainer.train(ws, model="deepfm", epochs=ranker, **choice)
    retrieval_trainer.train(ws, model="sasrec", epochs=tower, **choice)
    choices = Choice(backbone="deepfm", **choice), Choice(backbone="sasrec", **choice)
    made = export.export(ws, *choices, promote=promote)
    return releases.read(ws.dataset, made.details["release"])


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("gates")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LLMCF_HOME", str(folder / "home"))
        patch.setenv("LLMCF_TRITON_MODELS", str(folder / "models"))
        shop().write(folder / "shop")
        adding.add(DATASET, folder / "shop")
        thresholds.path(DATASET).write_text(GATES, encoding="utf-8")
        yield folder


@pytest.fixture(scope="module")
def two(place: Path) -> tuple[Release, Release]:
    """Yesterday's release, live, and today's, which is not."""
    for ws in DAYS:
        day_made(ws)
    return released(0, promote=True), released(1, promote=False)


def copied(release: Release, number: int) -> Release:
    """The same release under another number, to be spoiled."""
    copy = dataclasses.replace(release, number=number, score={})  # whose folder is named after the other number
    shutil.copytree(release.folder, copy.folder)
    shutil.rmtree(copy.folder / verdicts.PAGE, ignore_errors=True)
    (copy.folder / verdicts.FILE).unlink(missing_ok=True)
    copy.write(copy.folder)
    return copy


def inverted(release: Release) -> None:
    """The ranker's scores the wrong way round, under digests that fit: as a training that went wrong."""
    stage = release.stages["ranker"]
    path = release.models / "ranker" / str(stage.version) / "model.onnx"
    model = onnx.load(path, load_external_data=False)
    (output,) = model.graph.output
    for node in model.graph.node:
        node.output[:] = ["right" if name == output.name else name for name in node.output]
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.array(1, dtype=np.float32), "one"))
    model.graph.node.append(onnx.helper.make_node("Sub", ["one", "right"], [output.name]))
    onnx.save(model, path)
    changed = dataclasses.replace(stage, sha256={**stage.sha256, path.name: storage.sha256(path)})
    dataclasses.replace(release, stages={**release.stages, "ranker": changed}).write(release.folder)


def verb(*words: str) -> tuple[int, str]:
    """Exit code and last line of `llmcf release ...` on the shop."""
    try:
        app(["release", *words, "--dataset", DATASET], standalone_mode=False)
    except LlmcfError as error:
        return error.exit_code, str(error)
    return 0, ""


def states(found: dict[str, Any]) -> dict[str, str]:
    return {gate["name"]: gate["state"] for gate in found["gates"]}


@pytest.mark.parametrize("day", [0, 1])
def test_a_release_answers_held_out_rows_as_its_runs_did(two: tuple[Release, Release], day: int) -> None:
    release, ws = two[day], DAYS[day]
    moments = held_out.moments(ws, [release], users=10_000)
    told = answering.ask(Answering(release, ws), moments)
    assert len(moments) >= PEOPLE
    config = resolve(ws, model="deepfm", framework=FRAMEWORKS[day], **CHOICE)
    scores = pq.read_table(run_folder(ws, config) / "scores.parquet", filters=[("split", "==", "test")])
    rows = tables.training_rows(ws).take(scores["row"])
    pairs = zip(rows["user"].to_pylist(), rows["item"].to_pylist(), strict=True)
    of_row = dict(zip(pairs, scores["score"].to_pylist(), strict=True))
    off_N = np.abs(told.score_N - [of_row[one.user, item] for one in moments for item in one.item_C.tolist()])
    assert (off_N < 1e-5).mean() > 0.95
    assert off_N.max() < 0.02, "of two equally near examples either may be shown"
    run = ws.path("retrieval", f"sasrec-{FRAMEWORKS[day]}-strict-s1") / "scores.parquet"
    ranks = pq.read_table(run, filters=[("split", "==", "test")])
    by_user = dict(zip(ranks["user"].to_pylist(), ranks["rank_masked"].to_pylist(), strict=True))
    ours, theirs = np.minimum(told.rank_B, 11), [min(by_user[user], 11) for user in told.user_B.tolist()]
    assert (ours == theirs).mean() > 0.95


def test_an_earlier_release_answers_rows_of_users_and_items_that_came_after_it(two: tuple[Release, Release]) -> None:
    live, _ = two
    moments = held_out.moments(DAYS[1], two, users=10_000)
    assert {one.user >= live.users_end for one in moments} == {True, False}
    assert any((one.item_C >= live.items_end).any() for one in moments)
    told = answering.ask(Answering(live, DAYS[1]), moments)
    assert np.isfinite(told.score_N).all()
    assert ((told.score_N > 0) & (told.score_N < 1)).all()
    fewer = held_out.moments(DAYS[1], two, users=10)
    assert len({one.user for one in fewer}) == 10
    assert [one.user for one in fewer] == [one.user for one in held_out.moments(DAYS[1], two, users=10)]


def test_rows_that_the_other_release_learnt_from_are_left_out(two: tuple[Release, Release]) -> None:
    """Held against a release of a later day, of which yesterday's held-out rows of users who came back are training."""
    yesterday = held_out.moments(DAYS[0], [two[0]], users=10_000)
    both = held_out.moments(DAYS[0], two, users=10_000)
    assert 0 < len(both) < len(yesterday)
    learnt = tables.training_rows(DAYS[1]).to_pylist()
    known = {(row["user"], row["item"]) for row in learnt if row["split"] in ("train", "valid") and row["label"]}
    assert not {(one.user, one.taken) for one in both} & known
    assert {(one.user, one.taken) for one in yesterday} & known


def test_a_good_release_passes_and_may_go_live(two: tuple[Release, Release]) -> None:
    code, said = verb("promote", "--release", "2", "--checked")
    assert code == 1
    assert "is not checked" in said
    assert verb("check") == (0, ""), "the newest"
    verdict = verdicts.read(DATASET, 2)
    assert verdict is not None
    assert verdict.passed, verdict.gates
    assert (verdict.against, verdict.compared) == (1, "")
    by_name = {gate.name: gate for gate in verdict.gates}
    assert [by_name["skew"].state, by_name["canary"].state] == ["not applicable", "passed"]
    for name in ("auc", "gauc", "logloss", "ece", "hit", "ndcg", "p50", "p99"):
        gate = by_name[name]
        assert gate.live is not None, name
        assert gate.gap is not None, name
        assert gate.gap_low is not None, name
        assert gate.gap_high is not None, name
        assert gate.gap_low <= gate.gap <= gate.gap_high or name in ("ece", "p99"), name
    assert by_name["auc"].value is not None
    assert by_name["auc"].value > 0.6
    page = (releases.read(DATASET, 2).folder / "check" / "report.html").read_text(encoding="utf-8")
    assert "<svg" in page
    assert "Release 2 of corner-shop: passed" in page
    assert live() == 1
    assert listing.listing(DATASET).details["checks"] == {"1": "unchecked", "2": "passed"}


def live() -> int:
    found = releases.pointer(DATASET)
    assert found is not None
    return found.release


def test_spoiled_releases_fail_alert_once_and_leave_what_is_live(
    two: tuple[Release, Release], capsys: pytest.CaptureFixture[str]
) -> None:
    inverted(copied(two[1], 3))
    code, said = verb("check", "--release", "3")
    assert code == 3
    assert "auc" in said
    assert capsys.readouterr().err.count("ALERT release-check") == 1
    verdict = verdicts.read(DATASET, 3)
    assert verdict is not None
    assert states(verdict.as_json())["auc"] == "failed"
    assert states(verdict.as_json())["canary"] == "passed", "its server answers as its graphs say"
    assert verb("check", "--release", "3")[0] == 3
    assert "ALERT" not in capsys.readouterr().err
    code, said = verb("promote", "--release", "3", "--checked")
    assert code == 1
    assert "did not pass" in said
    assert live() == 1


def test_a_damaged_file_fails_the_canary(two: tuple[Release, Release]) -> None:
    damaged = copied(two[1], 4)
    (damaged.models / "ranker" / "2" / "model.py").write_text("", encoding="utf-8")
    result = check.check(DATASET, 4)
    assert states(result.details)["canary"] == "failed"
    assert states(result.details)["p50"] == "not applicable"
    with pytest.raises(LlmcfError, match="failed: canary"):
        check.require_passed(result)


def test_a_planted_leak_fails_and_names_the_claim(two: tuple[Release, Release]) -> None:
    ws, path = DAYS[1], DAYS[1].path("training", "rows.parquet")
    kept = path.read_bytes()
    rows = tables.training_rows(ws)
    seen = rows["popularity"].to_numpy() + np.float32(0.5)  # as if the row's own day were counted
    place = rows.schema.get_field_index("popularity")
    storage.write_table(path, rows.set_column(place, "popularity", pa.array(seen)), schemas.TRAINING_ROWS)
    try:
        found = check.check(DATASET, 2).details
    finally:
        path.write_bytes(kept)
    assert states(found)["leaks"] == "failed"
    (gate,) = [one for one in found["gates"] if one["name"] == "leaks"]
    assert "popularity counts strictly earlier days" in gate["reason"]
    assert verb("promote", "--release", "2", "--checked")[0] == 1
    assert live() == 1


def test_what_is_demanded_by_the_data_set_holds_for_every_way_to_go_live(
    two: tuple[Release, Release], capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.rmtree(manifest.folder(DATASET, 3), ignore_errors=True)
    shutil.rmtree(manifest.folder(DATASET, 4), ignore_errors=True)
    (two[1].folder / verdicts.FILE).unlink(missing_ok=True)
    file = thresholds.path(DATASET)
    file.write_text("required = true\n" + GATES, encoding="utf-8")
    assert verb("promote", "--release", "2")[0] == 1
    assert released(1, promote=True).number == 2, "made already"
    assert "release 2 of corner-shop is not checked" in capsys.readouterr().err
    assert live() == 1
    assert verb("check", "--release", "2") == (0, "")
    assert verb("promote", "--release", "2") == (0, "")
    assert live() == 2
    code, said = verb("promote", "--release", "1")
    assert code == 1
    assert "release 1 of corner-shop is not checked" in said
    assert verb("promote", "--release", "1", "--unchecked") == (0, "")
    file.write_text("required = true\n[auc]\nbund = 1\n", encoding="utf-8")
    code, said = verb("promote", "--release", "2")
    assert code == 2
    assert "auc.bund" in said
    file.write_text(GATES, encoding="utf-8")


def test_a_first_release_is_held_against_its_bounds_alone(two: tuple[Release, Release]) -> None:
    pointer = releases._pointer_file(DATASET)
    kept = pointer.read_bytes()
    pointer.unlink()
    try:
        found = check.check(DATASET, 2).details
    finally:
        pointer.write_bytes(kept)
    assert (found["state"], found["against"]) == ("passed", None)
    assert found["not_compared"] == "no other release is live"
    assert all(gate["live"] is None for gate in found["gates"])


def test_a_live_release_that_cannot_be_asked_is_told_and_not_compared(two: tuple[Release, Release]) -> None:
    path = two[0].folder / manifest.FILE
    kept = path.read_bytes()
    releases.promote(two[0])
    dataclasses.replace(two[0], collections={**two[0].collections, "items": "gone"}).write(two[0].folder)
    why = "release 1 cannot be asked: Milvus does not hold gone"
    file = thresholds.path(DATASET)
    before = file.read_text() if file.exists() else ""
    try:
        refused = check.check(DATASET, 2).details
        file.write_text("uncompared = true\n" + before)
        allowed = check.check(DATASET, 2).details
    finally:
        path.write_bytes(kept)
        file.write_text(before)
    assert (refused["state"], refused["against"]) == ("failed: auc, gauc, logloss, hit, ndcg", 1)
    assert "release 1 cannot be asked, which `uncompared" in refused["gates"][0]["reason"]
    assert why in refused["not_compared"]
    assert (allowed["state"], allowed["against"]) == ("passed", 1)
    assert why in allowed["not_compared"]


def test_where_the_other_learnt_every_row_there_is_nothing_to_ask(
    two: tuple[Release, Release], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(held_out, "_unlearnt", lambda tested, others: np.zeros(tested.num_rows, dtype=bool))
    assert held_out.moments(DAYS[0], two, users=10_000) == []
    found = check.check(DATASET, 1).details
    assert found["state"].startswith("failed: auc, gauc, logloss, ")
    assert "no held-out rows that neither release may have learnt from" in found["gates"][0]["reason"]


def test_a_day_that_is_made_up_for_is_held_against_its_bounds_and_no_promotion_rests_on_that(
    two: tuple[Release, Release],
) -> None:
    releases.promote(two[1])
    try:
        assert check.check(DATASET, 1).details["against"] == 2
        found = check.check(DATASET, 1, onwards=True).details
        with pytest.raises(LlmcfError, match="compared with release none, and 2 is live"):
            verdicts.require_passed(two[0])
    finally:
        releases.promote(two[0])
    assert found["against"] is None
    assert found["not_compared"] == f"release 2 of {two[1].as_of}, a later day, stays live"
    assert all(gate["live"] is None for gate in found["gates"])
