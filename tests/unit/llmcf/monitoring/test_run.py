"""Equal days raise nothing; each kind of drift, planted, raises its alert and only that; what is not there is said."""

import base64
import hashlib
import json
import re
import shutil
from collections.abc import Callable, Iterator
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from safetensors.numpy import load_file

from core import measurements, storage
from core.data import tables
from core.errors import LlmcfError, Missing, UsageError
from core.settings import Workspace
from llmcf.monitoring import history, limits, online, places, plots, run
from llmcf.monitoring.limits import KINDS
from tests import monitored_day as day
from tests.monitored_day import NOW, TODAY, answered, changed, scored, stamped, turned

Plant = Callable[[Workspace], None]
AGE_S = 3600.0
DRAW = plots.draw


@pytest.fixture(scope="module")
def prepared(tiny: Workspace, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A home with both days, copied for each test."""
    folder = tmp_path_factory.mktemp("monitored")
    with pytest.MonkeyPatch.context() as patch:
        shutil.copytree(tiny.root.parents[1], folder / "home" / tiny.dataset)
        patch.setenv("LLMCF_HOME", str(folder / "home"))
        patch.setenv("LLMCF_TRITON_MODELS", str(folder / "models"))
        for left_over in ("cot", "neighbours", "ranking", "feast"):
            shutil.rmtree(tiny.path(left_over), ignore_errors=True)
        day.made(tiny)
    yield folder


@pytest.fixture
def days(
    prepared: Path, tiny: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> tuple[Workspace, Workspace]:
    """The day and the reference."""
    for name in ("home", "models"):
        shutil.copytree(prepared / name, tmp_path / name, symlinks=True)
    monkeypatch.setenv("LLMCF_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("LLMCF_TRITON_MODELS", str(tmp_path / "models"))
    monkeypatch.setenv("LLMCF_RESULTS", str(tmp_path / "results"))
    monkeypatch.delenv("LLMCF_ALERT_WEBHOOK", raising=False)
    monkeypatch.setattr(online, "look", lambda ws, now: stores(ws, AGE_S))
    monkeypatch.setattr(plots, "draw", lambda *_: iter(()))  # which takes most of the time
    (known,) = [
        one for one in Path(tmp_path / "home" / tiny.dataset / tiny.order).iterdir() if one.name not in ("latest",)
    ]
    answered(tiny, all_items(tiny))
    return tiny, Workspace(tiny.dataset, tiny.order, known.name)


def stores(ws: Workspace, age_s: float) -> online.Store:
    return online.Store("p", NOW - age_s, NOW, {"user_history": NOW - 2 * age_s}, {"item_popularity": 0.25})


def all_items(ws: Workspace) -> list[int]:
    return tables.offered(ws).tolist() * 4


def monitored(ws: Workspace, **options: object) -> dict:
    return run.monitor(ws, now=NOW, **options).details  # pyright: ignore[reportArgumentType]


def by_popularity(ws: Workspace) -> list[int]:
    """The catalogue, the most taken first."""
    taken = np.bincount(tables.interactions(ws)["item"].to_numpy(), minlength=500)
    return sorted(tables.offered(ws).tolist(), key=lambda item: -taken[item])


def test_equal_days_raise_nothing(days: tuple[Workspace, Workspace]):
    ws, reference = days
    first = monitored(reference)
    assert first["reference"] is None
    assert any("there is no earlier workspace" in what for what in first["missing"])
    found = monitored(ws)
    assert found["reference"] == reference.as_of
    assert found["why"] == "release 1, which is live, was made of it"
    assert found["alerts"] == []
    assert [what for what in found["missing"] if "report cot" not in what] == []
    psi = [one for one in found["figures"] if one["name"] == "psi"]
    assert len(psi) > 30
    assert {one["value"] for one in psi} == {0}
    compared = [one for one in found["figures"] if "before" in one and one["name"] not in ("new", "new_keys")]
    assert {one["name"] for one in compared} >= {
        "missing",
        "similarity",
        "flagged",
        "ece",
        "auc",
        "coverage",
        "expired",
    }
    assert all(one["value"] == pytest.approx(one["before"]) for one in compared)


def _drifted(ws: Workspace) -> None:
    changed(ws.path("features", "user_history.parquet"), "activity", lambda some: [one + 3 for one in some])


def _without_ages(ws: Workspace) -> None:
    changed(
        ws.path("features", "user_profile.parquet"),
        "age",
        lambda some: [None if at % 4 == 0 else one for at, one in enumerate(some)],
    )


def _new_brands(ws: Workspace) -> None:
    changed(
        ws.path("features", "item_attributes.parquet"),
        "brand_id",
        lambda some: [9999 if at % 5 == 0 else one for at, one in enumerate(some)],
    )


def _turned_items(ws: Workspace) -> None:
    def towards_the_first_axis(items: np.ndarray) -> np.ndarray:
        there = np.linalg.norm(items, axis=1, keepdims=True) > 0
        moved = items + np.eye(items.shape[1])[0] * 1.5
        return there * moved / np.linalg.norm(moved, axis=1, keepdims=True)

    turned(ws.cot("vectors") / "vectors.safetensors", "items", towards_the_first_axis)


def _longer_vectors(ws: Workspace) -> None:
    turned(ws.cot("vectors") / "vectors.safetensors", "cot", lambda vectors: vectors * 1.5)


def _far_examples(ws: Workspace) -> None:
    turned(ws.path("neighbours", "ranking-strict", "neighbours.safetensors"), "similarity", lambda one: one - 0.2)


def _no_examples(ws: Workspace) -> None:
    def of_every_third_none(similarity: np.ndarray) -> np.ndarray:
        similarity[(np.arange(len(similarity)) // 2) % 3 == 0] = -np.inf
        return similarity

    turned(ws.path("neighbours", "ranking-strict", "neighbours.safetensors"), "similarity", of_every_third_none)


def _old_texts(ws: Workspace) -> None:
    stamped(ws.cot("texts"), summary={"date": (TODAY - timedelta(days=20)).isoformat()})


def _repeating_texts(ws: Workspace) -> None:
    changed(
        ws.cot("texts") / "texts.parquet",
        "flags",
        lambda some: [["repetition"] if at % 2 else one for at, one in enumerate(some)],
    )


def _shy_scores(ws: Workspace) -> None:
    scored(ws, 0.6)


def _blind_scores(ws: Workspace) -> None:
    scored(ws, 0.5)


def _half_of_the_catalogue(ws: Workspace) -> None:
    answered(ws, by_popularity(ws)[::2] * 8)


def _hits(ws: Workspace) -> None:
    answered(ws, [*by_popularity(ws), *by_popularity(ws)[:3] * 60])


PLANTED: dict[str, tuple[str, Plant]] = {
    "drifted": ("feature-drift", _drifted),
    "without ages": ("missing-values", _without_ages),
    "new brands": ("new-values", _new_brands),
    "turned items": ("vector-drift", _turned_items),
    "longer vectors": ("vector-norms", _longer_vectors),
    "far examples": ("distant-examples", _far_examples),
    "no examples": ("distant-examples", _no_examples),
    "old texts": ("old-texts", _old_texts),
    "repeating texts": ("poor-texts", _repeating_texts),
    "shy scores": ("calibration", _shy_scores),
    "blind scores": ("ranking-quality", _blind_scores),
    "half of the catalogue": ("coverage", _half_of_the_catalogue),
    "hits": ("popularity-bias", _hits),
}


def test_every_kind_is_planted():
    assert {kind for kind, _ in PLANTED.values()} | {"stale-features"} == set(KINDS)


@pytest.mark.parametrize("name", PLANTED)
def test_a_planted_drift_raises_its_alert_and_only_that(
    days: tuple[Workspace, Workspace], capsys: pytest.CaptureFixture[str], name: str
):
    kind, plant = PLANTED[name]
    ws, reference = days
    monitored(reference)
    plant(ws)
    capsys.readouterr()
    found = monitored(ws)
    assert [one["kind"] for one in found["alerts"]] == [kind]
    assert f"ALERT {kind} ({ws.dataset})" in capsys.readouterr().err
    monitored(ws)
    assert "ALERT" not in capsys.readouterr().err, "one a kind and day"
    assert f"<strong>{kind}</strong>" in places.page(ws).read_text()
    assert f'alert{{dataset="{ws.dataset}",kind="{kind}",order="{ws.order}"}} 1.0' in places.prometheus(ws).read_text()


@pytest.mark.parametrize("what", ["age", "expired"])
def test_a_store_that_stands_still_is_stale(
    days: tuple[Workspace, Workspace], monkeypatch: pytest.MonkeyPatch, what: str
):
    ws, reference = days
    old = {"age": stores(ws, 40 * AGE_S), "expired": stores(ws, AGE_S)}[what]
    if what == "expired":
        old.expired["item_popularity"] = 0.5
    monkeypatch.setattr(online, "look", lambda one, now: old if one == ws else stores(one, AGE_S))
    monitored(reference)
    assert [one["kind"] for one in monitored(ws)["alerts"]] == ["stale-features"]


def test_scores_of_the_texts_are_taken_from_what_was_measured(days: tuple[Workspace, Workspace]):
    ws, reference = days
    texts = {one: storage.read_json(one.cot("texts") / "step.json")["content"] for one in days}
    assert texts[ws] == texts[reference]
    changed(ws.cot("texts") / "texts.parquet", "tokens", lambda some: [one + 1 for one in some])
    for one, score in ((reference, 0.6), (ws, 0.5)):
        content = storage.read_json(one.cot("texts") / "step.json")["content"]
        line = {"texts": content, "figures": {"score": score, "label_probe": 0.55}}
        measurements.append(measurements.file("cot", ws.dataset), line, same=("texts",))
    monitored(reference)
    found = monitored(ws)
    (score,) = [one for one in found["figures"] if one["name"] == "text_score"]
    assert (score["value"], score["before"]) == (0.5, 0.6)
    assert [one["kind"] for one in found["alerts"]] == ["poor-texts"]


def test_alerts_that_are_off_and_features_that_are_not_watched(days: tuple[Workspace, Workspace]):
    ws, reference = days
    file, before = limits.path(ws.dataset), limits.path(ws.dataset).read_text()
    _drifted(ws)
    monitored(reference)
    for setting in ("off = ['feature-drift']\n", "unwatched = ['user_history.activity']\n"):
        file.write_text(setting + before)
        assert monitored(ws)["alerts"] == []
    assert "user_history.activity" in places.page(ws).read_text()


def test_limits_are_the_data_sets(days: tuple[Workspace, Workspace]):
    ws, reference = days
    _drifted(ws)
    monitored(reference)
    file = limits.path(ws.dataset)
    file.write_text(file.read_text() + "psi = 1000\n")
    assert monitored(ws)["alerts"] == []
    file.write_text("[limits]\npsi = 'x'\n")
    with pytest.raises(UsageError, match=r"limits\.psi"):
        monitored(ws)


def test_a_day_alone_says_what_it_lacks(days: tuple[Workspace, Workspace]):
    ws, reference = days
    for part in ("cot", "neighbours", "ranking", "training"):
        shutil.rmtree(ws.path(part))
    shutil.rmtree(day.home() / ws.dataset / "service")
    shutil.rmtree(reference.root)
    found = monitored(ws)
    said = "\n".join(found["missing"])
    for what in (
        "drift of features and vectors: there is no earlier workspace",
        "features of rows: `llmcf features join",
        "vectors of items: there are none",
        "vectors of texts: there are none",
        "examples: nobody looked for them; `llmcf rank train",
        "texts: there are none",
        "calibration and AUC: latest has no run deepfm-llm-cf-strict-s7; `llmcf rank train",
        "the kept answers of the service: 0 shown items",
        "the sample of served requests: 0 shown items",
        "what is recommended: the workspace has no account of a retrieval run sasrec-none-strict-s7",
    ):
        assert what in said
    assert found["alerts"] == []
    page = places.page(ws).read_text()
    assert all(what.split(":")[0] in page for what in found["missing"])
    assert history.read(ws)[0]["missing"] == found["missing"]
    assert (
        'unmeasured{dataset="movielens-100k",order="shuffled-ties",part="scores"} 1.0'
        in places.prometheus(ws).read_text()
    )


def test_no_live_release_is_said(days: tuple[Workspace, Workspace], tmp_path: Path):
    ws, reference = days
    shutil.rmtree(tmp_path / "models")
    found = monitored(ws)
    assert found["why"] == "it is the newest earlier workspace"
    assert found["reference"] == reference.as_of
    assert any("no release of movielens-100k is live" in what for what in found["missing"])


@pytest.fixture
def later(days: tuple[Workspace, Workspace]) -> Callable[[], None]:
    """Has the day after the reference's be monitored."""
    _, reference = days
    after = (date.fromisoformat(reference.as_of) + timedelta(days=1)).isoformat()
    line = {"as_of": after, "end": 10**6, "time": 0, "alerts": [], "figures": [], "missing": []}

    def monitored_too() -> None:
        history.keep(reference, line)
        places.prometheus(reference).write_text("of the later day")

    return monitored_too


def test_a_past_day_keeps_what_only_its_time_could_tell(
    days: tuple[Workspace, Workspace],
    later: Callable[[], None],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
):
    ws, reference = days
    first = monitored(reference)
    line = history.of(history.read(reference), reference.as_of)
    later()
    monkeypatch.setattr(online, "look", lambda one, now: pytest.fail("it is another moment"))
    answered(ws, by_popularity(ws)[:10] * 50)
    again = run.monitor(reference, now=NOW + 90 * 86_400).details
    assert figures(again) == figures(first)
    assert again["alerts"] == []
    assert "ALERT" not in capsys.readouterr().err
    kept = history.of(history.read(reference), reference.as_of)
    assert kept and line and {**kept, "missing": line["missing"]} == line
    assert places.prometheus(reference).read_text() == "of the later day"
    assert "As it was found at 2026-01-31 00:00 UTC" in places.page(reference).read_text()


def test_what_its_time_alone_could_tell_of_a_past_day_is_missing_where_it_was_not_measured_then(
    days: tuple[Workspace, Workspace], later: Callable[[], None]
):
    _, reference = days
    later_page = places.prometheus(reference)
    later_page.parent.mkdir(parents=True)
    later()
    found = monitored(reference)
    assert not {"online_hours", "coverage"} & {name for name, _ in figures(found)}
    assert ("auc", "") in figures(found)
    for what in ("the online store", "what is recommended"):
        assert f"{what}: not measured any more, as a later day has been monitored" in found["missing"]
    assert later_page.read_text() == "of the later day"


def test_an_alert_of_its_time_is_told_once(
    days: tuple[Workspace, Workspace],
    later: Callable[[], None],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
):
    """Also where nobody remembers that it was sent."""
    _, reference = days
    monkeypatch.setattr(online, "look", lambda one, now: stores(one, 40 * AGE_S))
    assert [one["kind"] for one in monitored(reference)["alerts"]] == ["stale-features"]
    later()
    monkeypatch.setattr(run.alerts, "send", lambda alert: pytest.fail(alert.kind))
    monitored(reference)
    assert history.read(reference)[0]["alerts"] == ["stale-features"]


def test_a_line_a_day(days: tuple[Workspace, Workspace]):
    ws, reference = days
    for one in (ws, reference, ws):
        monitored(one)
    lines = [json.loads(text) for text in places.history(ws).read_text().splitlines()]
    assert sorted(line["as_of"] for line in lines) == sorted([reference.as_of, "latest"])
    assert {line["end"] for line in lines} == {lines[0]["end"]}


def test_a_textfile_that_cannot_be_written_is_refused_before_anything_is_measured(
    days: tuple[Workspace, Workspace], tmp_path: Path
):
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match=r"x\.prom cannot be written"):
        monitored(days[0], textfile=tmp_path / "file" / "x.prom")
    assert not places.history(days[0]).exists()


def test_an_alert_is_sent_whatever_becomes_of_the_files(
    days: tuple[Workspace, Workspace], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    ws, reference = days
    monitored(reference)
    _drifted(ws)

    def full(*_: object, **__: object) -> None:
        raise UsageError("no space is left")

    monkeypatch.setattr(run.prometheus, "write", full)
    with pytest.raises(UsageError, match="no space"):
        monitored(ws)
    assert f"ALERT feature-drift ({ws.dataset})" in capsys.readouterr().err


def test_the_page_needs_nothing_else(days: tuple[Workspace, Workspace], monkeypatch: pytest.MonkeyPatch):
    ws, reference = days
    monitored(reference)
    monkeypatch.setattr(plots, "draw", DRAW)
    monitored(ws)
    page = places.page(ws).read_text()
    assert "No alert." in page
    assert page.count("<svg") == 7
    assert "Over the days" in page
    (script,) = re.findall(r"<script>(.*?)</script>", page, flags=re.DOTALL)
    assert base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() in page, "its own, by the policy"
    for outside in ("src=", "<link", "@import", "url(http"):
        assert outside not in page


def test_the_reference_may_be_named(days: tuple[Workspace, Workspace]):
    ws, reference = days
    found = monitored(ws, against="latest")
    assert (found["reference"], found["alerts"]) == ("latest", [])
    with pytest.raises(
        UsageError, match=rf"--reference '2001-01-01' is no day with features.*{reference.as_of}, latest"
    ):
        monitored(ws, against="2001-01-01")
    with pytest.raises(UsageError, match="neither 'latest' nor a date"):
        monitored(ws, against="yesterday")


def test_the_bins_of_the_reference_are_kept(days: tuple[Workspace, Workspace]):
    ws, reference = days
    monitored(ws)
    profile = places.reference(reference) / "profile.json"
    first = profile.stat().st_mtime_ns
    monitored(ws)
    assert profile.stat().st_mtime_ns == first
    assert storage.read_json(profile)["features"]["user_profile.age"]["bins"]["kind"] == "number"
    _drifted(reference)
    assert [one["kind"] for one in monitored(ws)["alerts"]] == ["feature-drift"], "made anew when its features change"


def test_a_textfile_is_written_elsewhere_too(days: tuple[Workspace, Workspace], tmp_path: Path):
    ws, _ = days
    monitored(ws, textfile=tmp_path / "collector" / "shop.prom")
    assert (tmp_path / "collector" / "shop.prom").read_text() == places.prometheus(ws).read_text()
    with pytest.raises(UsageError, match=r"does not end in \.prom"):
        monitored(ws, textfile=tmp_path / "shop.txt")


def test_features_that_are_not_built(days: tuple[Workspace, Workspace]):
    ws, _ = days
    shutil.rmtree(ws.path("features"))
    with pytest.raises(Missing, match="llmcf features build"):
        monitored(ws)


def test_fail_on_alert(days: tuple[Workspace, Workspace]):
    ws, reference = days
    monitored(reference)
    run.require_none(run.monitor(ws, now=NOW))
    _drifted(ws)
    with pytest.raises(LlmcfError, match="1 alerts: feature-drift"):
        run.require_none(run.monitor(ws, now=NOW))


def figures(found: dict) -> dict[tuple[str, str], float]:
    return {(one["name"], one.get("of", "")): one["value"] for one in found["figures"]}


def test_figures_by_hand(days: tuple[Workspace, Workspace]):
    ws, reference = days
    monitored(reference)
    _without_ages(ws)
    _new_brands(ws)
    _old_texts(ws)
    _repeating_texts(ws)
    found = figures(monitored(ws))
    items, users = len(tables.offered(ws)), tables.users(ws).num_rows
    assert found["missing", "user_profile.age"] == pytest.approx(len(range(0, users, 4)) / users)
    assert found["new", "item_attributes.brand_id"] == pytest.approx(len(range(0, items, 5)) / items)
    assert found["new_keys", "user"] == 0
    assert found["text_days", ""] == 20
    assert found["flagged", "repetition"] == 0.5
    # nine of ten positives above nine of ten negatives, which tie with the tenth: .81 + (.09 + .09) / 2
    assert found["auc", ""] == pytest.approx(0.9)
    assert found["ece", ""] == pytest.approx(0, abs=1e-9)
    assert found["coverage", ""] == 1
    assert found["gini", ""] == 0
    assert found["norm", "items"] == pytest.approx(1)
    assert found["shown", ""] == 4 * items
    assert found["online_hours", ""] == 1
    assert found["materialized_hours", "user_history"] == 2


def test_examples_and_texts_by_hand(days: tuple[Workspace, Workspace]):
    ws, reference = days
    monitored(reference)
    rows, taken = tables.training_rows(ws), tables.interactions(ws)
    end = int(taken["day"].to_numpy().max()) + 1
    kept = load_file(ws.path("neighbours", "ranking-strict", "neighbours.safetensors"))["similarity"]
    kept[::4] = -np.inf  # every second positive has no example
    turned(ws.path("neighbours", "ranking-strict", "neighbours.safetensors"), "similarity", lambda _: kept)
    newest = [
        row["row"]
        for row in rows.select(["row", "label", "split", "day"]).to_pylist()
        if row["label"] == 1 and row["split"] != "test_on_sale" and row["day"] >= end - 60
    ]
    best = [max(kept[row]) for row in newest]
    found = figures(monitored(ws))
    assert found["lonely", ""] == pytest.approx(np.mean(np.isinf(best)))
    assert found["similarity", ""] == pytest.approx(np.mean([one for one in best if np.isfinite(one)]), rel=1e-6)
    texts = pq.read_table(ws.cot("texts") / "texts.parquet")["row"].to_pylist()
    day_of = dict(zip(rows["row"].to_pylist(), rows["day"].to_pylist(), strict=True))
    assert found["text_days_behind", ""] == end - 1 - max(day_of[row] for row in texts)


def test_without_a_service_the_account_of_the_run_tells_what_is_recommended(days: tuple[Workspace, Workspace]):
    ws, reference = days
    shutil.rmtree(day.home() / ws.dataset / "service")
    rows = tables.training_rows(ws)
    tested = rows.filter(
        pa.array((rows["split"].to_numpy(zero_copy_only=False) == "test") & (rows["label"].to_numpy() == 1))
    )
    taken = float(np.expm1(tested["popularity"].to_numpy()).mean())
    for one, coverage, popularity in ((reference, 0.8, taken), (ws, 0.5, 2 * taken)):
        folder = one.path("retrieval", day.STAGES["user_vector"])
        folder.mkdir(parents=True)
        pq.write_table(tested.select(["split", "row"]), folder / "scores.parquet")
        stamped(folder, summary={"coverage": coverage, "mean_popularity": popularity})
    found = monitored(ws)
    assert figures(found)["coverage", ""] == 0.5
    assert figures(found)["popularity_lift", ""] == pytest.approx(1)
    assert [one["kind"] for one in found["alerts"]] == ["coverage", "popularity-bias"], (
        "held against the reference's own"
    )
    assert any("the kept answers of the service: 0 shown items" in what for what in found["missing"])


def test_vectors_of_another_encoder_are_not_compared(days: tuple[Workspace, Workspace]):
    ws, reference = days
    monitored(reference)
    _turned_items(ws)
    stamped(ws.cot("vectors"), config={"hash": "another"})
    found = monitored(ws)
    assert "drift of vectors: the reference's are another encoder's" in found["missing"]
    assert found["alerts"] == []


def test_scores_of_other_rows_are_not_judged(days: tuple[Workspace, Workspace]):
    ws, _ = days
    changed(ws.path("ranking", day.STAGES["ranker"], "scores.parquet"), "label", lambda some: [1 - one for one in some])
    found = monitored(ws)
    assert any("scored other rows than latest has now; train again" in what for what in found["missing"])
    assert ("auc", "") not in figures(found)
