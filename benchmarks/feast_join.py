"""Which of Feast's offline stores on files joins training rows fastest: `dask`, `duckdb`, or our as-of join.

    .venv/bin/python -m benchmarks.feast_join --dataset movielens-100k

Each store joins the same rows with the features of the service `ranking` in a process of its own, as
`llmcf features join` does; the page says how many rows came back and whether their values are ours. Needs
`llmcf features apply`. Writes benchmarks/results/feast_join.{json,md}.
"""

import argparse
import shutil
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import yaml

from benchmarks import measured
from benchmarks.measured import Spent
from core import storage
from core.data import asof, tables
from core.progress import say
from core.settings import Workspace
from llmcf.feature_store import registry
from llmcf.feature_store.jobs import entities

OURS = "llmcf.feature_store.asof_store.AsofDuckDBOfflineStore"
STORES = {"Feast's `dask` (the file store)": "dask", "Feast's `duckdb`": "duckdb", "our as-of join in DuckDB": OURS}


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """`of_ours` compares the seconds; `returned` rows came back of `rows`, all with our values if `same`."""

    store: str
    rows: int
    returned: int
    same: bool
    seconds: float
    peak_mib: int
    of_ours: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=20_000, help="drawn from all (default: %(default)s)")
    parser.add_argument("--dataset", default="movielens-100k")
    parser.add_argument("--order", default="shuffled-ties")
    arguments = parser.parse_args()
    ws = Workspace(arguments.dataset, arguments.order)
    registry.require_applied(ws)
    rows = tables.rows(ws)
    drawn = np.random.default_rng(0).permutation(rows.num_rows)[: arguments.rows]
    with storage.scratch_folder(ws.path(".feast-join")) as scratch:
        asked = scratch / "entities.parquet"
        pq.write_table(entities(rows, tables.interactions(ws)).take(np.sort(drawn)), asked)
        answers = {name: _join(ws, scratch, asked, store) for name, store in STORES.items()}
    figures = _figures(answers, len(drawn))
    command = f"python -m benchmarks.feast_join --dataset {ws.dataset} --rows {arguments.rows}"
    page = _page(ws, figures, command)
    measured.write("feast_join", {"command": command, "figures": [asdict(figure) for figure in figures]}, page)
    say(page)


def _join(ws: Workspace, scratch: Path, asked: Path, store: str) -> tuple[Spent, pa.Table]:
    """What a store took and found, in a copy of the workspace's feast/ folder."""
    folder, joined = scratch / store, scratch / f"{store}.parquet"
    shutil.copytree(ws.path("feast"), folder)
    configuration = folder / "feature_store.yaml"
    content = yaml.safe_load(configuration.read_text(encoding="utf-8"))
    content["offline_store"] = {"type": store}
    configuration.write_text(yaml.safe_dump(content), encoding="utf-8")
    say(f"joining with {store}")
    command = [sys.executable, "-m", "llmcf.feature_store.worker", "join", "ranking", str(asked), str(joined)]
    spent = measured.run(command, folder=folder)
    return spent, pq.read_table(joined).sort_by("row")


def _figures(answers: dict[str, tuple[Spent, pa.Table]], rows: int) -> list[Figure]:
    ours, expected = next(answer for name, answer in answers.items() if STORES[name] == OURS)
    return [
        Figure(
            store=name,
            rows=rows,
            returned=found.num_rows,
            same=found["row"].equals(expected["row"]) and not asof.differences(found, expected),
            seconds=round(spent.seconds, 1),
            peak_mib=spent.peak_mib,
            of_ours=round(spent.seconds / ours.seconds, 2),
        )
        for name, (spent, found) in answers.items()
    ]


def _page(ws: Workspace, figures: list[Figure], command: str) -> str:
    lines = [
        "# Joining training rows point in time",
        "",
        f"{figures[0].rows:,} rows of {ws.dataset} with the features of `ranking`, each store in a process of its own, "
        "start included.",
        f"On {measured.sentence()}. `{command}`",
        "",
        "| offline store | seconds | of ours | peak MiB | rows back | the same values |",
        "|---|---|---|---|---|---|",
        *(
            f"| {f.store} | {f.seconds:.1f} | {f.of_ours:.2f} | {f.peak_mib:,} | {f.returned:,} "
            f"| {'yes' if f.same else 'NO'} |"
            for f in figures
        ),
    ]
    return "\n".join([*lines, ""])


if __name__ == "__main__":
    main()
