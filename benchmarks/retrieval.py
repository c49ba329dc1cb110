"""What training a retrieval model costs: SASRec beside RecBole's, LLM-CF beside its backbone.

    .venv/bin/python -m benchmarks.retrieval [--dataset amazon-beauty --order published] [--only recbole|epochs]

RecBole is the package as it is installed, in an environment of its own (`make env-recbole`): its data set, loader,
model and training loop, the same width, layers, heads and loss as ours, and as many threads. It learns one target from
each prefix, we learn all targets of a window at once. A target that two windows of an epoch share counts once.
Everything that is compared runs in turns within one run; a ratio is the median over the turns. Writes
benchmarks/results/retrieval.{json,md}.
"""

import argparse
import statistics
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

import torch
from torch import Tensor

from benchmarks import measured, recbole
from core import memory, processor, storage
from core.contracts import HISTORY, PAD
from core.progress import say
from core.settings import Workspace
from ict.averaging import Averages
from ict.seeding import seed_everything
from retrieval_stage.configs import RetrievalConfig
from retrieval_stage.inputs import TowerData, load
from retrieval_stage.loop import in_batches, optimizer_of, updates, validated
from retrieval_stage.objective import Objective
from retrieval_stage.recipes import resolve
from retrieval_stage.registry import BACKBONES, MODELS
from retrieval_stage.user_tower import build

NAME = "retrieval"
FLOOR = 20.0  # of RecBole's targets a second
CEILING = 3.0  # an epoch of LLM-CF in epochs of its backbone
RECIPES = ("strict", "best")
WAYS = {  # what recipe strict is trained with; the first is the recipe
    "float32": {},
    "float32, trimmed": {"trimmed": True},
    "bfloat16": {"precision": "bfloat16"},
    "bfloat16, trimmed": {"precision": "bfloat16", "trimmed": True},
}
TURNS, STEPS, THEIR_STEPS = 5, 32, 2  # beside RecBole
EPOCH_TURNS, EPOCH_STEPS = 3, 16  # two encodings of the examples


@dataclass(frozen=True, slots=True)
class Turn:
    """Some steps: how many different targets they learnt from, and the wall and processor seconds that they took."""

    targets: float
    seconds: float
    processor: float

    @property
    def rate(self) -> float:
        """Targets a second."""
        return self.targets / self.seconds

    @property
    def cost(self) -> float:
        """Processor microseconds a target."""
        return 1e6 * self.processor / self.targets


class Loop:
    """The product's loop under a configuration, epoch after epoch, some steps at a time."""

    def __init__(self, config: RetrievalConfig, data: TowerData) -> None:
        seed_everything(config.seed)
        self.config, self.sequences, self.shown = config, data.sequences, data.shown
        self.tower = build(config, data)
        self.generator = torch.Generator().manual_seed(config.seed)
        self.averages = Averages(self.tower.parameters(), config.averaging)
        first = self._epoch()
        self.batches = len(first)
        self.once = len(self.sequences.of_split("train")) / sum(self._positions(index_B) for index_B in first)
        self.positions = 0
        objective = Objective(self.tower, self.sequences, self.shown)
        ends = self._ends(first)
        self.running = updates(objective, self.tower, optimizer_of(self.tower), ends, self.generator)

    def turn(self, steps: int) -> Turn:
        """Train that many steps."""
        before, start, used = self.positions, time.perf_counter(), time.process_time()
        for _ in islice(self.running, steps):
            self.averages.step()
        spent = time.perf_counter() - start, time.process_time() - used
        return Turn((self.positions - before) * self.once, *spent)

    def validation(self) -> float:
        """Seconds that an epoch's end takes: HIT@10 over the catalogue for every validation row."""
        start = time.perf_counter()
        with self.averages.in_place():
            validated(self.tower, self.sequences, self.shown)
        return time.perf_counter() - start

    def epoch(self, steps: int) -> dict[str, float]:
        """Seconds of a whole epoch and its parts, by so many steps."""
        turn, validation = self.turn(steps), self.validation()
        step = turn.seconds / steps
        return {
            "step_ms": 1e3 * step,
            "rate": turn.rate,
            "validation": validation,
            "epoch": self.batches * step + validation,
        }

    def _epoch(self) -> list[Tensor]:
        return in_batches(self.sequences, self.sequences.windows(self.generator), self.config, self.generator)

    def _ends(self, batches: list[Tensor]) -> Iterator[Tensor]:
        while True:
            for index_B in batches:
                self.positions += self._positions(index_B)
                yield index_B
            batches = self._epoch()

    def _positions(self, index_B: Tensor) -> int:
        return int((self.sequences.targets(index_B) != PAD).sum())


def beside_recbole(ws: Workspace) -> dict[str, Any]:
    """Targets a second, ours in each way and RecBole's: as it is, of our shape, and with our history too."""
    ways = [way for way, changed in WAYS.items() if "precision" not in changed or processor.multiplies_bfloat16()]
    plain = resolve(model="sasrec", framework="none", recipe="strict", seed=1)
    data = load(ws, plain)
    ours = {way: Loop(replace(plain, **WAYS[way]), data) for way in ways}
    for loop in ours.values():
        loop.turn(8)
    cases = []
    for alike, history in ((False, None), (True, None), (True, HISTORY)):
        options = recbole.settings(plain, alike=alike, history=history)
        with recbole.started(ws, options, torch.get_num_threads()) as theirs:
            theirs.turn(1)
            turns = [_turn_of_all(ours, theirs) for _ in range(TURNS)]
        cases.append(theirs.about | {way: ratios([(turn[way], turn["recbole"]) for turn in turns]) for way in ways})
        say(f"RecBole: {cases[-1]}")
    return {"batch": plain.batch, "ways": ways, "cases": cases}


def _turn_of_all(ours: dict[str, Loop], theirs: recbole.Process) -> dict[str, Turn]:
    answer = theirs.turn(THEIR_STEPS)
    found = {"recbole": Turn(answer["targets"], answer["seconds"], answer["processor"])}
    return found | {way: loop.turn(STEPS) for way, loop in ours.items()}


def ratios(turns: list[tuple[Turn, Turn]]) -> dict[str, float]:
    """Medians of our rate, of the other's, and of their ratios turn by turn, with the least and the largest of these;
    and by how much more processor time the other takes a target."""
    found = [ours.rate / other.rate for ours, other in turns]
    return {
        "ours": round(statistics.median(ours.rate for ours, _ in turns)),
        "other": round(statistics.median(other.rate for _, other in turns)),
        "ratio": round(statistics.median(found), 2),
        "least": round(min(found), 2),
        "most": round(max(found), 2),
        "processor": round(statistics.median(other.cost / ours.cost for ours, other in turns), 2),
    }


def beside_its_backbone(ws: Workspace, model: str, recipe: str) -> dict[str, Any]:
    """An epoch of a backbone and of LLM-CF on it."""
    loops = {}
    for framework in ("none", "llm-cf"):
        config = resolve(model=model, framework=framework, recipe=recipe, seed=1)
        loops[framework] = Loop(config, load(ws, config))
        loops[framework].turn(8)
    turns = [{name: loop.epoch(EPOCH_STEPS) for name, loop in loops.items()} for _ in range(EPOCH_TURNS)]
    found = [turn["llm-cf"]["epoch"] / turn["none"]["epoch"] for turn in turns]
    account: dict[str, Any] = {"batches": loops["none"].batches, "ratio": round(statistics.median(found), 2)}
    for name in loops:
        parts = {part: statistics.median(turn[name][part] for turn in turns) for part in turns[0][name]}
        account[name] = {part: round(value, 2) for part, value in parts.items()}
    say(f"{model}, {recipe}: {account}")
    return account


def measure(ws: Workspace, only: str | None) -> dict[str, Any]:
    """Everything, or one part anew beside the others as they were."""
    memory.keep_freed()  # as a run does
    account = storage.read_json(measured.RESULTS / f"{NAME}.json") if only else {}
    if only != "epochs":
        account["recbole"] = {"measured_on": measured.sentence(), **beside_recbole(ws)}
    if only != "recbole":
        on = measured.sentence()
        every = {model: {recipe: beside_its_backbone(ws, model, recipe) for recipe in RECIPES} for model in MODELS}
        account["epochs"] = {"measured_on": on, "models": every}
    return account


def page(account: dict[str, Any], ws: Workspace) -> str:
    """The figures as Markdown."""
    return "\n".join(
        [
            "# Training a retrieval model",
            "",
            f"`python -m benchmarks.retrieval --dataset {ws.dataset} --order {ws.order}`; what is compared runs in "
            "turns within one run, and a ratio is the median over the turns.",
            "",
            *_recbole_lines(account["recbole"]),
            *_epoch_lines(account["epochs"]),
        ]
    )


def _recbole_lines(account: dict[str, Any]) -> list[str]:
    first = account["cases"][0]
    settings, versions = first["settings"], dict(first["versions"])
    its_own = versions.pop("recbole")
    lines = [
        "## SASRec beside RecBole's",
        "",
        f"RecBole {its_own} as a package registry has it, with "
        f"{', '.join(f'{library} {number}' for library, number in versions.items())}: its own data set, loader and "
        f"training loop, {settings['n_layers']} layers of width {settings['hidden_size']}, softmax over all items, one "
        f"target a prefix, batches of {settings['train_batch_size']:,}. Ours, recipe strict: windows of {HISTORY} "
        f"items, all targets of a window at once, batches of {account['batch']}, as many layers of that width, the "
        f"same loss. Both on the CPU with as many threads; {TURNS} turns of {STEPS} steps of ours and {THEIR_STEPS} of "
        f"theirs, on {account['measured_on']}.",
        "",
        "| RecBole: heads, feed-forward width, history | RecBole, targets/s | ours | ours, targets/s | "
        "ours / RecBole | least to most | by processor time |",
        "|---|---|---|---|---|---|---|",
    ]
    for case in account["cases"]:
        shape = " / ".join(str(case["settings"][name]) for name in ("n_heads", "inner_size", "MAX_ITEM_LIST_LENGTH"))
        for way in account["ways"]:
            one = case[way]
            lines.append(
                f"| {shape} | {one['other']:,} | {way} | {one['ours']:,} | {one['ratio']:.1f} | "
                f"{one['least']:.1f} to {one['most']:.1f} | {one['processor']:.1f} |"
            )
    return [
        *lines,
        "",
        f"The first is RecBole as it is; the floor of {FLOOR:.0f} is for it: {_verdict(account)}. The second has the "
        "heads and the feed-forward width of ours, the third its history too. Of ours, float32 is the recipe, bfloat16 "
        "is what the softmax multiplies in (`--precision`), and trimmed is that windows of like length share a batch, "
        "without padding (a knob of the configuration). A target that two of our windows share counts once. Processor "
        "time depends less than the clock on what others run on the same cores.",
        "",
    ]


def _verdict(account: dict[str, Any]) -> str:
    """Which ways of ours reach the floor by the clock."""
    first = account["cases"][0]
    return ", ".join(f"{way} {'reaches' if first[way]['ratio'] >= FLOOR else 'misses'} it" for way in account["ways"])


def _epoch_lines(account: dict[str, Any]) -> list[str]:
    lines = [
        "## LLM-CF beside its backbone",
        "",
        f"An epoch is all of its steps and the ranking of the catalogue for every validation row; {EPOCH_TURNS} turns "
        f"of {EPOCH_STEPS} steps, float32, on {account['measured_on']}. The aim is at most {CEILING:.0f} times the "
        "epoch of the backbone.",
        "",
        "| backbone | recipe | ms a step | targets/s | epoch, s | LLM-CF: ms a step | targets/s | epoch, s | ratio |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for model, recipes in account["models"].items():
        for recipe, one in recipes.items():
            parts = " | ".join(
                f"{one[name]['step_ms']:.0f} | {one[name]['rate']:,.0f} | {one[name]['epoch']:.1f}"
                for name in ("none", "llm-cf")
            )
            lines.append(f"| {BACKBONES[model].display} | {recipe} | {parts} | {one['ratio']:.2f} |")
    return [*lines, ""]


def main() -> None:
    memory.start_anew_without_cache()  # as a verb that trains
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset", default="amazon-beauty")
    parser.add_argument("--order", default="published")
    parser.add_argument("--only", choices=("recbole", "epochs"), help="measure this part anew and keep the other")
    options = parser.parse_args()
    ws = Workspace(options.dataset, options.order)
    account = measure(ws, options.only)
    measured.write(NAME, account, page(account, ws))
    say((measured.RESULTS / f"{NAME}.md").read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
