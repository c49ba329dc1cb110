"""Pictures of the demo's report, drawn without a display."""

import json
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
import pyarrow.parquet as pq

FRAMEWORKS = ("none", "llm-cf")
COLOURS = {"none": "#7f8c9b", "llm-cf": "#c0392b"}
plt.rcParams.update({"font.size": 9, "axes.spines.top": False, "axes.spines.right": False, "figure.dpi": 110})


def _result(results: list[dict[str, Any]], title: str) -> dict[str, Any] | None:
    return next((result for result in results if result["title"] == title), None)


def _losses(result: dict[str, Any] | None) -> Any:
    return json.loads(Path(result["artifacts"]["losses"]).read_text(encoding="utf-8")) if result else None


def _save(figure: Any, path: Path) -> None:
    figure.tight_layout()
    figure.savefig(path)
    plt.close(figure)


def training(results: list[dict[str, Any]], path: Path) -> None:
    """Fine-tuning loss a step, validation AUC and HIT@10 an epoch, without and with LLM-CF."""
    figure, (left, middle, right) = plt.subplots(1, 3, figsize=(11, 3.2))
    recgen = _losses(_result(results, "recgen train"))
    if recgen:
        left.plot(range(1, len(recgen["train"]) + 1), recgen["train"], marker="o", markersize=3, color="#2c5f8a")
    left.set(title="RecGen fine-tuning", xlabel="step", ylabel="loss of the responses")
    for framework in FRAMEWORKS:
        style: dict[str, Any] = {"marker": "o", "markersize": 3, "color": COLOURS[framework], "label": framework}
        ranker = _losses(_result(results, f"rank train {framework}"))
        if ranker:
            aucs = [epoch["valid_auc"] for epoch in ranker["epochs"]]
            middle.plot(range(1, len(aucs) + 1), aucs, **style)
        retriever = _losses(_result(results, f"retrieve train {framework}"))
        if retriever:
            hits = [epoch["valid"]["hit@10"] for epoch in retriever]
            right.plot(range(1, len(hits) + 1), hits, **style)
    middle.set(title="DeepFM", xlabel="epoch", ylabel="validation AUC")
    right.set(title="SASRec", xlabel="epoch", ylabel="validation HIT@10, seen masked")
    for axis in (middle, right):
        axis.legend(frameon=False)
        axis.xaxis.get_major_locator().set_params(integer=True)
    _save(figure, path)


def scores(results: list[dict[str, Any]], path: Path) -> None:
    """How the rankers' scores of test positives and negatives are distributed."""
    figure, axes = plt.subplots(1, len(FRAMEWORKS), figsize=(8.5, 3), sharey=True)
    edges = np.linspace(0, 1, 41)
    for axis, framework in zip(axes, FRAMEWORKS, strict=True):
        result = _result(results, f"rank train {framework}")
        if result:
            table = pq.read_table(result["artifacts"]["scores"], filters=[("split", "=", "test")])
            label, score = table["label"].to_numpy(), table["score"].to_numpy()
            axis.hist(score[label == 0], edges, alpha=0.6, color="#7f8c9b", label="negatives")
            axis.hist(score[label == 1], edges, alpha=0.6, color="#2e8b57", label="positives")
            axis.set(title=f"DeepFM, {framework}: test AUC {result['metrics']['test']['auc']:.4f}", xlabel="P(click)")
            axis.legend(frameon=False)
    axes[0].set_ylabel("test rows")
    _save(figure, path)
