"""The demo's report: tables, training curves and score distributions, written by the program that ran."""

import os
from pathlib import Path
from typing import Any

from core import machine, storage
from core.contracts import ON_SALE
from core.data.tables import remedy
from core.markdown import table
from core.settings import Workspace

Results = list[dict[str, Any]]

RANKING = (
    ("auc", "AUC", 4),
    ("logloss", "LogLoss", 4),
    ("gauc", "GAUC", 4),
    ("ece", "ECE", 4),
    ("rel_impr", "RelImpr %", 2),
)
RETRIEVAL = (("hit@5", "HIT@5", 4), ("hit@10", "HIT@10", 4), ("ndcg@5", "NDCG@5", 4), ("ndcg@10", "NDCG@10", 4))

REDUCED = """\
A 135M-parameter model after a few steps of fine-tuning writes simple texts, and the sample is small: the run shows
that every part is real and fits, not what the method can gain. At full size: a 7B model, one epoch on GPUs, a tenth of
the training rows, BGE as the encoder (README, "What runs at reduced size here"). One seed says little: compare several.
"""


def write(ws: Workspace, folder: Path, results: Results, *, seconds: float) -> Path:
    """Write `report.md` and its pictures into `folder`; returns the page."""
    folder.mkdir(parents=True, exist_ok=True)
    from llmcf.reports import demo_plots

    demo_plots.training(results, folder / "training.png")
    demo_plots.scores(results, folder / "scores.png")
    page = folder / "report.md"
    with storage.atomic_path(page) as beside:
        beside.write_text(_page(ws, folder, results, seconds), encoding="utf-8")
    return page


def of_title(results: Results, title: str) -> dict[str, Any] | None:
    return next((result for result in results if result["title"] == title), None)


def framework_metrics(results: Results) -> dict[str, dict[str, Any]]:
    """`metrics.{valid,test}` of the demo: framework -> stage -> values."""
    out: dict[str, dict[str, Any]] = {}
    for split in ("valid", "test"):
        out[split] = {
            f"{stage} {framework}": result["metrics"][split]
            for stage in ("rank train", "retrieve train")
            for framework in ("none", "llm-cf")
            if (result := of_title(results, f"{stage} {framework}"))
        }
    return out


def summary(results: Results, page: Path) -> str:
    """What the demo prints at its end."""
    recommend = of_title(results, "recommend")
    parts = [
        recommend["details"]["text"] if recommend else "",
        "",
        *_ranking_table(results),
        "",
        *_retrieval_table(results),
        "",
        f"Everything is in {page.parent}; read {page}",
    ]
    return "\n".join(parts)


def _page(ws: Workspace, folder: Path, results: Results, seconds: float) -> str:
    generate = of_title(results, "cot generate")
    recommend = of_title(results, "recommend")
    search = of_title(results, "cot search")
    data, audit = of_title(results, "data report"), of_title(results, "audit leaks")
    seeds = sorted({r["seed"] for r in results if r["seed"] is not None})
    return "\n".join(
        [
            f"# LLM-CF on {ws.dataset}",
            "",
            f"Order {ws.order}, as of {ws.as_of}, seed {', '.join(map(str, seeds))}, recipe strict. "
            f"Made by `{remedy(ws, 'demo')}` in {seconds:.0f} s "
            f"on {machine.sentence()}.",
            "",
            REDUCED,
            "## Ranking: every test row, one positive and one uniform negative an interaction",
            "",
            f"`{ON_SALE}` has the test positives against negatives that had been taken before the row's day.",
            "",
            *_ranking_table(results),
            "",
            "![score distribution](scores.png)",
            "",
            "## Retrieval: the whole catalogue",
            "",
            *_retrieval_table(results),
            "",
            "## Training",
            "",
            "![training curves](training.png)",
            "",
            *(_section("Data", data)),
            *([f"With pictures: [data report]({_beside(data, folder)})", ""] if data else []),
            *(_section("Audit of the leak rule", audit)),
            *(_section("Chains of thought", generate)),
            *(_section("In-context examples of one request", search)),
            *(_section("Recommendations", recommend)),
            "## Steps",
            "",
            *_step_table(results),
            "",
        ]
    )


def _beside(result: dict[str, Any], folder: Path) -> str:
    """The page of a result as seen from `folder`: both move together."""
    return os.path.relpath(result["artifacts"]["report"], folder)


def _section(title: str, result: dict[str, Any] | None) -> list[str]:
    if result is None:
        return []
    details = dict(result["details"])
    text = details.pop("text", "")
    facts = [f"- {name}: {value}" for name, value in details.items() if isinstance(value, (str, int, float))]
    quoted = ["```text", text.replace("```", "'''"), "```"] if text else []
    return [f"## {title}", "", f"`{result['command']}`", "", *facts, "", *quoted, ""]


def _number(value: Any, digits: int) -> str:
    return "" if value is None else f"{value:.{digits}f}"


def _ranking_table(results: Results) -> list[str]:
    rows = []
    for framework in ("none", "llm-cf"):
        result = of_title(results, f"rank train {framework}")
        if result:
            for split in ("valid", "test", ON_SALE):
                values = result["metrics"].get(split, {})
                rows.append(["DeepFM", framework, split, *(_number(values.get(name), d) for name, _, d in RANKING)])
    return table(["model", "framework", "split", *(title for _, title, _ in RANKING)], rows)


def _retrieval_table(results: Results) -> list[str]:
    rows = []
    for framework in ("none", "llm-cf"):
        result = of_title(results, f"retrieve train {framework}")
        if result:
            for seen in ("masked", "unmasked"):
                values = result["metrics"]["test"][seen]
                rows.append(["SASRec", framework, seen, *(_number(values.get(name), d) for name, _, d in RETRIEVAL)])
    return table(["model", "framework", "seen items (test)", *(title for _, title, _ in RETRIEVAL)], rows)


def _step_table(results: Results) -> list[str]:
    rows = [
        [
            r["title"],
            f"{r['wall_seconds']:.1f}",
            f"{r['seconds']:.1f}",
            "up to date" if r["skipped"] else "done",
            f"`{r['command']}`",
        ]
        for r in results
    ]
    return table(["step", "seconds now", "seconds of the work", "state", "command"], rows)
