"""The page of whole requests: a line a stage with its floor beneath, a column a release and count, and the ratio."""

from types import SimpleNamespace
from typing import Any

from benchmarks.recommend_page import ALL, FLOOR, Figure, page


def release(number: int, framework: str) -> Any:
    stage = SimpleNamespace(backbone="deepfm", framework=framework, recipe="best")
    return SimpleNamespace(
        number=number, dataset="shop", order="published", stages={"ranker": stage, "user_vector": stage}
    )


def figure(name: str, stage: str, p50_ms: float, candidates: int = 100) -> Figure:
    return Figure(
        store="SQLite", release=name, candidates=candidates, stage=stage, requests=9, p50_ms=p50_ms, p99_ms=2 * p50_ms
    )


def test_a_stage_has_its_floor_beneath_and_each_release_a_column() -> None:
    figures = [
        figure("llm-cf", "ranker" + FLOOR, 1.0),
        figure("llm-cf", "ranker", 4.0),
        figure("llm-cf", ALL, 9.0),
        figure("none", "ranker", 3.0),
        figure("none", ALL, 6.0),
    ]
    start = {name: {"seconds": 3.0, "cpu_seconds": 2.0, "mib": 700} for name in ("llm-cf", "none")}
    chosen = {"llm-cf": release(2, "llm-cf"), "none": release(1, "none")}
    lines = page(figures, chosen, start, "the command").splitlines()
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("|")]
    assert cells[0] == ["p50 / p99 ms", "LLM-CF, 100 candidates", "plain, 100 candidates"]
    assert cells[2:] == [
        ["ranker", "4.00 / 8.00", "3.00 / 6.00"],
        ["ranker, floor", "1.00 / 2.00", ""],
        [ALL, "9.00 / 18.00", "6.00 / 12.00"],
    ]
    assert "- SQLite, 100 candidates: LLM-CF takes 1.50 times as long as plain." in lines
    assert any(line.startswith("- LLM-CF: release 2, deepfm llm-cf best") and "700 MiB" in line for line in lines)


def test_one_release_alone_has_no_ratio() -> None:
    start = {"none": {"seconds": 3.0, "cpu_seconds": 2.0, "mib": 700}}
    made = page([figure("none", ALL, 6.0)], {"none": release(1, "none")}, start, "the command")
    assert "times as long" not in made
