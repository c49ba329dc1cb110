"""What the retrieval pictures show of several seeds."""

from pathlib import Path
from typing import Any

import pytest

from core.segments import SEGMENTS
from llmcf.backfill.retrieval import CONTROL
from llmcf.reports import retrieval_plots
from llmcf.reports.measured import Cells

PLAIN, OURS = ("strict", "sasrec", "none", ""), ("strict", "sasrec", "llm-cf", "")


def line(level: float) -> dict[str, Any]:
    test = dict.fromkeys(("hit@5", "hit@10", "ndcg@5", "ndcg@10"), level)
    return {"metrics": {"test": test}, "segments": {name: {"masked": test} for name in SEGMENTS}}


def cells() -> Cells:
    return {
        PLAIN: {1: line(0.1), 2: line(0.3), 3: line(0.2)},
        OURS: {1: line(0.12), 2: line(0.3)},
        (CONTROL, "text", "none", ""): {0: line(0.05)},
    }


def test_a_gain_is_of_the_seeds_that_both_have_from_the_least_to_the_most() -> None:
    assert retrieval_plots._gains(cells(), OURS, PLAIN, "new items") == pytest.approx((5.0, 0.0, 20.0))
    assert retrieval_plots._gains(cells(), OURS, ("best", *PLAIN[1:]), "new items") is None
    nothing: Cells = {PLAIN: {1: line(0.0)}, OURS: {1: line(0.1)}}
    assert retrieval_plots._gains(nothing, OURS, PLAIN, "new items") is None


def test_the_legend_names_what_is_drawn_once(tmp_path: Path) -> None:
    made = retrieval_plots.draw(cells(), {("sasrec", "None", "hit@10"): 0.06}, tmp_path)
    assert list(made) == ["Table 4, strict", "What LLM-CF adds by segment, strict"]
    drawn = (tmp_path / made["Table 4, strict"]).read_text()
    assert [drawn.count(f">{name}<") for name in ("text cosine", "none", "llm-cf", "the paper\'s", "popularity")] == [
        1, 1, 1, 1, 0,
    ]  # fmt: skip


def test_a_backbone_of_ones_own_is_drawn_as_the_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = [f"own-{number}" for number in range(8)]
    monkeypatch.setattr(retrieval_plots, "MODELS", own)
    monkeypatch.setattr(retrieval_plots, "NAMES", dict(zip(own, own, strict=True)))
    runs: Cells = {("strict", one, framework, ""): {1: line(0.1)} for one in own for framework in ("none", "llm-cf")}
    made = retrieval_plots.draw(runs, {}, tmp_path)
    drawn = (tmp_path / made["What LLM-CF adds by segment, strict"]).read_text()
    assert all(f">{one}<" in drawn for one in own)
