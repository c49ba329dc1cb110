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
