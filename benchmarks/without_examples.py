"""What the rung `without examples` costs: the AUC of a trained LLM-CF ranker whose requests have none, beside its own.

    .venv/bin/python -m benchmarks.without_examples --dataset movielens-100k --order shuffled-ties

A service whose Milvus has lost the examples sends none, and the graph then takes the w of no examples
(docs/serve.md, the ladder). Both are asked for all test rows, beside the plain backbone and the variant
`examples-dropped`, whose training shows a tenth of the rows no examples, where these were trained. Writes
benchmarks/results/without_examples.{json,md}.
"""

import argparse
import tempfile
from dataclasses import asdict
from pathlib import Path

from benchmarks import measured
from benchmarks.refresh import Frozen, scores
from core import uncertainty
from core.data import kept, tables
from core.errors import LlmcfError
from core.markdown import table
from core.progress import say
from core.settings import Workspace
from ranking.export import export_graph
from ranking.recipes import resolve
from ranking.rows import Rows
from ranking.runs import trained

_PLAIN, _OWN, _NONE = "plain backbone", "LLM-CF", "LLM-CF, without examples"
_DROPPED = "examples-dropped"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset", default="movielens-100k")
    parser.add_argument("--order", help="(default: the data set's own)")
    parser.add_argument("--model", default="deepfm")
    parser.add_argument("--recipe", default="strict")
    parser.add_argument("--seed", type=int, default=2023)
    parser.add_argument("--rows", type=int, help="the first so many test rows; all if not given")
    asked = parser.parse_args()
    try:
        figures, rows = compared(asked)
    except LlmcfError as error:
        say(f"nothing is compared: {error}")
        return
    options = " ".join(f"--{name} {value}" for name, value in vars(asked).items() if value is not None)
    command = f"python -m benchmarks.without_examples {options}"
    measured.write(
        "without_examples", {"command": command, "rows": rows, "figures": figures}, page(figures, rows, command)
    )
    say(page(figures, rows, command))


def compared(asked: argparse.Namespace) -> tuple[dict[str, dict[str, dict[str, float]]], int]:
    """The AUC of each with its interval, and what it gains over LLM-CF without examples; and the number of rows.

    Raises:
        LlmcfError: if the ranker was not trained.
    """
    ws = Workspace(asked.dataset, asked.order or kept.default_order(asked.dataset))
    whole = tables.training_rows(ws)
    rows = Rows.of(whole.filter(whole["split"].to_numpy(zero_copy_only=False) == "test").slice(0, asked.rows))
    label_N, user_N = rows.label_N.numpy(), rows.requests.user_B.numpy()
    with tempfile.TemporaryDirectory() as scratch:
        own = _frozen(ws, asked, "llm-cf", "", Path(scratch))
        score = {_NONE: scores(own, rows, without_examples=True), _OWN: scores(own, rows)}
        try:
            dropped = _frozen(ws, asked, "llm-cf", _DROPPED, Path(scratch))
            score[f"{_NONE}, {_DROPPED}"] = scores(dropped, rows, without_examples=True)
            score[f"{_OWN}, {_DROPPED}"] = scores(dropped, rows)
        except LlmcfError as error:
            say(f"no training with examples dropped beside it: {error}")
        try:
            score[_PLAIN] = scores(_frozen(ws, asked, "none", "", Path(scratch)), rows)
        except LlmcfError as error:
            say(f"no plain backbone beside it: {error}")
    auc = {name: uncertainty.auc_of(label_N, score_N, user_N) for name, score_N in score.items()}
    found = {}
    for name, (statistic, users) in auc.items():
        gain = uncertainty.bootstrap(uncertainty.difference(statistic, auc[_NONE][0]), users)
        found[name] = {"auc": asdict(uncertainty.bootstrap(statistic, users)), "gain": asdict(gain)}
    return found, len(label_N)


def _frozen(ws: Workspace, asked: argparse.Namespace, framework: str, variant: str, scratch: Path) -> Frozen:
    named = resolve(ws, model=asked.model, framework=framework, recipe=asked.recipe, seed=asked.seed, variant=variant)
    graph, kept = scratch / named.name, scratch / f"{named.name}.safetensors"
    graph.mkdir()
    export_graph(ws, trained(ws, named), graph, kept)
    return Frozen(name=framework, graph=graph, kept=kept, ws=ws)


def page(figures: dict[str, dict[str, dict[str, float]]], rows: int, command: str) -> str:
    """The comparison as Markdown."""
    lines = []
    for name, one in figures.items():
        gain = "" if name == _NONE else _interval(one["gain"], "+.4f")
        lines.append([name, _interval(one["auc"], ".4f"), gain])
    return "\n".join(
        [
            "# A ranker without its examples",
            "",
            f"{rows:,} test rows; 95 % intervals over users. {measured.sentence()}. `{command}`",
            "",
            *table(["", "AUC", "over LLM-CF without examples"], lines),
            "",
        ]
    )


def _interval(one: dict[str, float], how: str) -> str:
    return f"{one['estimate']:{how}} [{one['low']:{how}}, {one['high']:{how}}]"


if __name__ == "__main__":
    main()
