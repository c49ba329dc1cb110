"""AUC of a release on the days after it: as it was, refreshed without training, and trained anew.

    .venv/bin/python -m benchmarks.refresh --dataset amazon-beauty --before 2014-04-01 --after 2014-06-01

Asks for three workspaces in the order `global-time`: as of `--before` and `--after`, each with its examples embedded
and its ranker trained, and `latest`, whose rows from `--after` on are scored. Each release sees what it would as a
service: users and items that came after it are UNKNOWN, histories and days are those of the request. Writes
benchmarks/results/refresh.{json,md}. Suffixes: N rows, V items.
"""

import argparse
import tempfile
import time
from dataclasses import asdict, dataclass, replace
from datetime import date
from pathlib import Path

import numpy as np
import onnxruntime
import torch

from benchmarks import measured
from core import uncertainty
from core.contracts import CATEGORIES, RANKER_INPUTS, UNKNOWN
from core.data import tables
from core.markdown import table
from core.progress import say, track
from core.settings import Workspace
from ict import onnx
from ict.examples import ExampleSet, Requests
from ict.neighbours import NeighbourConfig, search_exact
from ranking.configs import RankerConfig
from ranking.export import export_graph, kept_run, refresh_graph
from ranking.recipes import resolve
from ranking.rows import Rows
from ranking.runs import trained

_BATCH = 4096
_READING = """\
Negatives are drawn uniformly over the catalogue, so a new item, which is taken more often than it is drawn, is mostly a
positive. Over all rows a release therefore gains by how high it ranks the unknown as such; the rows of older items
compare like with like, and those of newer items show what is known of these.
"""
EPOCH = date(1970, 1, 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Frozen:
    """A graph folder, the weights it was made of, and the workspace whose items and examples it holds."""

    name: str
    graph: Path
    kept: Path
    ws: Workspace


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset", default="amazon-beauty")
    parser.add_argument("--before", required=True, help="the old release knows what came before this day")
    parser.add_argument(
        "--after", required=True, help="the others know what came before this day; later rows are scored"
    )
    parser.add_argument("--model", default="deepfm")
    parser.add_argument("--recipe", default="strict")
    parser.add_argument("--seed", type=int, default=2023)
    asked = parser.parse_args()
    days = [Workspace(asked.dataset, "global-time", day) for day in (asked.before, asked.after)]
    named = [
        trained(ws, resolve(ws, model=asked.model, framework="llm-cf", recipe=asked.recipe, seed=asked.seed))
        for ws in days
    ]
    with tempfile.TemporaryDirectory() as scratch:
        releases, seconds = frozen(Path(scratch), days, named)
        account, page = compared(releases, Workspace(asked.dataset, "global-time"), asked.after)
    options = " ".join(f"--{name} {value}" for name, value in vars(asked).items())
    command = f"python -m benchmarks.refresh {options}"
    epochs = [config.epochs for config in named]
    account |= {"command": command, "refresh_seconds": round(seconds, 1), "epochs": epochs}
    head = [
        "# A release on the days after it",
        "",
        f"{asked.model}, llm-cf, {asked.recipe}, seed {asked.seed}, at most {epochs[0]} epochs; {account['rows']:,} "
        f"rows of {asked.dataset}, order global-time, from {asked.after} on. 95 % intervals over users. The refresh "
        f"took {seconds:.1f} s. `{command}` on {measured.sentence()}",
        "",
    ]
    measured.write("refresh", account, "\n".join([*head, *page, "", _READING]))
    say("\n".join(page))


def frozen(folder: Path, days: list[Workspace], named: list[RankerConfig]) -> tuple[list[Frozen], float]:
    """The old release, the old one refreshed, a new one; and the seconds of the refresh."""
    old, refreshed, new = (folder / name for name in ("old", "refreshed", "new"))
    for place in (old, refreshed, new):
        place.mkdir()
    kept = [folder / f"{number}.safetensors" for number in (0, 1)]
    export_graph(days[0], named[0], old, kept[0])
    export_graph(days[1], named[1], new, kept[1])
    start = time.perf_counter()
    refresh_graph(days[1], kept[0], old, refreshed)
    seconds = time.perf_counter() - start
    made = [
        Frozen(name="old", graph=old, kept=kept[0], ws=days[0]),
        Frozen(name="refreshed", graph=refreshed, kept=kept[0], ws=days[1]),
        Frozen(name="trained anew", graph=new, kept=kept[1], ws=days[1]),
    ]
    return made, seconds


def compared(releases: list[Frozen], latest: Workspace, after: str) -> tuple[dict[str, object], list[str]]:
    """AUC of each release on all rows and on those of items that came after the old one, and differences from it."""
    whole = tables.training_rows(latest)
    rows = Rows.of(whole.filter(whole["day"].to_numpy() >= (date.fromisoformat(after) - EPOCH).days))
    label_N, user_N = rows.label_N.numpy(), rows.requests.user_B.numpy()
    known = items_end(releases[0].ws)
    parts = {
        "all": np.ones(len(label_N), dtype=bool),
        "items older than the old release": rows.requests.item_B.numpy() < known,
        "newer items": rows.requests.item_B.numpy() >= known,
    }
    score_RN = [scores(one, rows) for one in releases]
    figures, lines = {}, []
    for part, of_N in parts.items():
        statistics = [uncertainty.auc_of(label_N[of_N], score_N[of_N], user_N[of_N]) for score_N in score_RN]
        users, positive = statistics[0][1], round(float(label_N[of_N].mean()), 4)
        for one, (statistic, _) in zip(releases, statistics, strict=True):
            auc = uncertainty.bootstrap(statistic, users)
            gain = uncertainty.bootstrap(uncertainty.difference(statistic, statistics[0][0]), users)
            figures[f"{part}: {one.name}"] = {
                "rows": int(of_N.sum()),
                "positives": positive,
                "auc": asdict(auc),
                "over_old": asdict(gain),
            }
            told = "" if one is releases[0] else f"{gain.estimate:+.4f} [{gain.low:+.4f}, {gain.high:+.4f}]"
            shown = f"{auc.estimate:.4f} [{auc.low:.4f}, {auc.high:.4f}]"
            lines.append([part, f"{of_N.sum():,}", f"{positive:.0%}", one.name, shown, told])
    head = ["rows of", "rows", "taken", "release", "AUC", "over the old"]
    return {"rows": len(label_N), "figures": figures}, table(head, lines)


def scores(release: Frozen, rows: Rows, *, without_examples: bool = False) -> np.ndarray:
    """P(click) of every row as the release's service would give it, (N,); as if no example were known, if asked."""
    config, shape, _ = kept_run(release.kept)
    requests = seen(rows.requests, users_end=shape.tables.user, items_end=items_end(release.ws))
    how = NeighbourConfig(stage="ranking", recipe=config.recipe, seed=config.seed)
    examples_NK, similarity_NK = search_exact(ExampleSet.load(release.ws), requests, how)
    if without_examples:
        examples_NK, similarity_NK = torch.zeros_like(examples_NK), torch.zeros_like(similarity_NK)
    known = {
        "user": requests.user_B,
        "item": requests.item_B,
        "history": requests.history_BL,
        "dense": rows.dense_NJ,
        "examples": examples_NK,
        "similarity": similarity_NK,
        "brand": torch.zeros(len(requests), dtype=torch.int64),
        "categories": torch.zeros(len(requests), CATEGORIES, dtype=torch.int64),
        "text": torch.zeros(len(requests), shape.text_width),
    }
    session = onnxruntime.InferenceSession(release.graph / onnx.MODEL, providers=["CPUExecutionProvider"])
    read = {one.name for one in session.get_inputs()}
    feed = {one.name: known[one.name].numpy() for one in RANKER_INPUTS if one.name in read}
    starts = range(0, len(requests), _BATCH)
    found = [
        session.run(None, {name: values[start : start + _BATCH] for name, values in feed.items()})[0]
        for start in track(starts, total=len(starts), what=f"{release.name}, batches")
    ]
    return np.concatenate([np.asarray(part) for part in found])


def seen(requests: Requests, *, users_end: int, items_end: int) -> Requests:
    """The requests with what is newer than a release as UNKNOWN."""
    return replace(
        requests,
        user_B=requests.user_B.where(requests.user_B < users_end, UNKNOWN),
        item_B=requests.item_B.where(requests.item_B < items_end, UNKNOWN),
        history_BL=requests.history_BL.where(requests.history_BL < items_end, UNKNOWN),
    )


def items_end(ws: Workspace) -> int:
    return int(tables.items(ws)["item"].to_numpy().max()) + 1


if __name__ == "__main__":
    main()
