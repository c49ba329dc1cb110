"""A data set's gates.toml is read over the defaults, and refused whole with the place of each fault."""

from math import inf
from pathlib import Path

import pytest

from core.errors import UsageError
from llmcf.serving import thresholds
from llmcf.serving.thresholds import GATES, LLM_GATES, Limit, Thresholds

DATASET = "shop"


def write(text: str) -> Path:
    file = thresholds.path(DATASET)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text, encoding="utf-8")
    return file


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LLMCF_HOME", str(tmp_path))


def test_without_a_file_there_are_the_defaults() -> None:
    assert thresholds.load(DATASET) == Thresholds()
    assert not Thresholds().required
    assert set(GATES) >= {"auc", "hit", "leaks", "canary", "p99"}


def test_what_a_file_leaves_out_stays() -> None:
    write('required = true\noff = ["skew"]\n[auc]\nbound = 0.7\n[p99]\nmargin = inf\n')
    found, usual = thresholds.load(DATASET), Thresholds()
    assert (found.required, found.off) == (True, ("skew",))
    assert found.auc == Limit(bound=0.7, margin=usual.auc.margin)
    assert found.p99 == Limit(bound=usual.p99.bound, margin=inf)
    assert found.ece == usual.ece
    assert found.of("canary") is None


def test_the_digest_tells_what_decides() -> None:
    usual = Thresholds()
    assert Thresholds(required=True).digest == usual.digest, "whether a check is asked for decides no gate"
    others = [Thresholds(auc=Limit(bound=0.6)), Thresholds(decide_by="estimate"), Thresholds(off=("skew",))]
    assert len({usual.digest, *(one.digest for one in others)}) == 4


def test_a_language_models_limits_decide_on_no_release_and_a_releases_on_no_model() -> None:
    usual = Thresholds()
    of_models = [Thresholds(llm_auc=Limit(bound=0.6)), Thresholds(off=("llm_degenerate",))]
    assert {one.digest for one in of_models} == {usual.digest}
    assert len({usual.llm_digest, *(one.llm_digest for one in of_models)}) == 3
    of_releases = [Thresholds(auc=Limit(bound=0.6)), Thresholds(off=("skew",)), Thresholds(required=True, requests=30)]
    assert {one.llm_digest for one in of_releases} == {usual.llm_digest}
    both = Thresholds(decide_by="estimate")
    assert both.digest != usual.digest and both.llm_digest != usual.llm_digest
    write("[llm_nats]\nmargin = 0.2\n")
    assert thresholds.load(DATASET).llm_nats == Limit(bound=usual.llm_nats.bound, margin=0.2)
    assert not set(LLM_GATES) & set(GATES)


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("[auc]\nbund = 1\n", "auc.bund"),
        ("[auc]\nmargin = -0.1\n", "auc.margin"),
        ("[auc]\nbound = nan\n", "auc.bound"),
        ("[auc]\nbound = true\n", "auc.bound"),
        ("auc = 3\n", "auc:"),
        ('off = ["speed"]\n', "no gate is called 'speed'; there are auc"),
        ('required = "yes"\n', "required"),
        ('decide_by = "luck"\n', "decide_by"),
        ("users = 1\n", "users"),
        ("level = 1.0\n", "level"),
        ("[speed]\nbound = 1\n", "speed"),
        ("[llm_auc]\nbund = 1\n", "llm_auc.bund"),
        ("[auc\n", "is no TOML"),
    ],
)
def test_a_fault_is_refused_with_its_place(text: str, place: str) -> None:
    file = write(text)
    with pytest.raises(UsageError) as refused:
        thresholds.load(DATASET)
    assert str(file) in str(refused.value)
    assert place in str(refused.value)
