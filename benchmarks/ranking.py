"""What training a ranker costs: our loop beside a bare one, LLM-CF beside its backbone, and larger tables.

    .venv/bin/python -m benchmarks.ranking [--dataset amazon-beauty --order published] [--only-scale]

Bare: DeepFM of the same sizes out of `torch.nn` alone, `embedding_bag` over padded ids that are held in memory, fused
dense Adam; no TorchRec, no jagged batches, nothing read or checked. Both loops take the same rows in turns within one
run; a ratio is the median over the turns. Scale: step time against rows of the tables, by one process and by two under
DistributedModelParallel. Writes benchmarks/results/ranking.{json,md,svg}.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits, embedding_bag

from benchmarks import measured
from benchmarks.ranking_scale import ROWS, plot, scale, ways
from core import memory, storage
from core.progress import say
from core.settings import Workspace
from ict.seeding import seed_everything
from ranking.bags import padded_fields
from ranking.batch import BatchBuilder
from ranking.configs import DeepFmConfig, RankerConfig
from ranking.inputs import load
from ranking.layers import FIELDS, Sizes, pairwise_dot
from ranking.loop import optimizer_of, train_step
from ranking.ranker import Shape, attends, build
from ranking.recipes import resolve
from ranking.registry import MODELS

FLOOR = 0.8  # of the bare loop's rows a second, at batch 128
CEILING = 4.0  # an LLM-CF step in steps of its backbone
TURNS, SECONDS = 5, 4.0
PARTS = ("batch", "tables alone", "forward", "backward", "Adam")  # of a step


def bare_tower(width: int, config: DeepFmConfig) -> nn.Sequential:
    widths = (width, *config.tower)
    hidden = [
        part
        for size, next_size in pairwise(widths)
        for part in (nn.Linear(size, next_size), nn.ReLU(), nn.Dropout(config.dropout))
    ]
    return nn.Sequential(*hidden, nn.Linear(widths[-1], 1))


class BareDeepFM(nn.Module):
    """The same model without any of our code around it."""

    def __init__(self, sizes: Sizes, width: int, config: DeepFmConfig) -> None:
        super().__init__()
        rows = {"user": sizes.user, "item": sizes.item, "brand": sizes.brand, "category": sizes.category}
        self.width = width
        self.tables = nn.ParameterDict(
            {name: nn.Parameter(0.01 * torch.randn(count, width + 1)) for name, count in rows.items()}
        )
        self.bias = nn.Parameter(torch.zeros(()))
        self.tower = bare_tower(len(FIELDS) * width, config)

    def forward(self, padded: dict[str, Tensor]) -> Tensor:
        bags = [
            embedding_bag(padded[field], self.tables[table], mode="mean", padding_idx=0)
            for field, table in FIELDS.items()
        ]
        pooled_BFY = torch.stack(bags, dim=1)
        emb_BFD, first_B = pooled_BFY[:, :, : self.width], pooled_BFY[:, :, self.width].sum(dim=1)
        return self.bias + first_B + pairwise_dot(emb_BFD) + self.tower(emb_BFD.flatten(1)).squeeze(1)


def bare_loop(batches: BatchBuilder, shape: Shape, config: RankerConfig) -> Callable[[Tensor], None]:
    """One step of the bare loop on the rows it is given."""
    assert isinstance(config.backbone, DeepFmConfig)
    model = BareDeepFM(shape.tables, config.width, config.backbone)
    optimizer = torch.optim.Adam(model.parameters(), lr=config.learning_rate, fused=True)
    rows = batches.rows.requests
    padded = padded_fields(batches.items, rows.user_B, rows.item_B, rows.history_BL)
    label_N = batches.rows.label_N

    def step(at_B: Tensor) -> None:
        loss = binary_cross_entropy_with_logits(model({name: ids[at_B] for name, ids in padded.items()}), label_N[at_B])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    return step


def our_loop(batches: BatchBuilder, shape: Shape, config: RankerConfig) -> Callable[[Tensor], None]:
    """One step of the product's loop, its batch built from the row numbers."""
    model = build(config, shape)
    optimizer = optimizer_of(model, config)
    return lambda at_B: (train_step(model, optimizer, batches(at_B, training=True)), None)[1]


def rates(loops: dict[str, Callable[[Tensor], None]], train_N: Tensor, batch: int) -> dict[str, list[float]]:
    """Rows a second of each loop in each turn."""
    parts = [part for part in train_N[torch.randperm(len(train_N))].split(batch) if len(part) == batch]
    for step in loops.values():
        for at_B in parts[:3]:
            step(at_B)
    found: dict[str, list[float]] = {name: [] for name in loops}
    for _ in range(TURNS):
        for name, step in loops.items():
            start, done = time.perf_counter(), 0
            while time.perf_counter() - start < SECONDS:
                step(parts[done % len(parts)])
                done += 1
            found[name].append(done * batch / (time.perf_counter() - start))
    return found


def ratio(found: dict[str, list[float]], ours: str, other: str) -> float:
    return statistics.median(a / b for a, b in zip(found[ours], found[other], strict=True))


def parts_of_a_step(batches: BatchBuilder, shape: Shape, config: RankerConfig) -> dict[str, float]:
    """Milliseconds of each part, the median of fifty steps."""
    model = build(config, shape)
    optimizer = torch.optim.Adam(model.parameters(), lr=config.learning_rate, fused=True)
    parts = batches.rows.of_epoch(1)[torch.randperm(len(batches.rows.of_epoch(1)))].split(config.batch)[:55]
    spent: dict[str, list[float]] = {}

    def timed(name: str, work: Callable[[], Any]) -> Any:
        start = time.perf_counter()
        made = work()
        spent.setdefault(name, []).append(1e3 * (time.perf_counter() - start))
        return made

    for at_B in parts:
        batch = timed("batch", lambda at_B=at_B: batches(at_B, training=True))
        sparse = batch.sparse
        timed("tables alone", lambda sparse=sparse: model.fields(sparse))
        scored = timed("forward", lambda batch=batch: model(batch))
        loss = binary_cross_entropy_with_logits(scored.logits_B, batch.label_B) + scored.added_loss
        optimizer.zero_grad()
        timed("backward", loss.backward)
        timed("Adam", optimizer.step)
    return {name: round(statistics.median(values[5:]), 2) for name, values in spent.items()}


def beside_its_backbone(ws: Workspace, model: str, batches: BatchBuilder, shape: Shape) -> dict[str, float]:
    """Rows a second of a backbone, and how many of its steps one of LLM-CF takes, both in each precision."""
    loops: dict[str, Callable[[Tensor], None]] = {}
    for precision in ("float32", "bfloat16"):
        for framework in ("none", "llm-cf"):
            config = resolve(ws, model=model, framework=framework, recipe="strict", seed=1, precision=precision)
            of = replace(batches, attends=attends(config), context=batches.context if config.uses_examples else None)
            loops[f"{framework} {precision}"] = our_loop(of, shape, config)
    found = rates(loops, batches.rows.of_epoch(1), config.batch)
    times = {name: round(ratio(found, f"none {name}", f"llm-cf {name}"), 2) for name in ("float32", "bfloat16")}
    say(f"LLM-CF on {model}: {times} times a step of the backbone")
    return {"backbone": round(statistics.median(found["none float32"])), **times}


def main() -> None:
    memory.start_anew_without_cache()  # as a verb that trains
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset", default="amazon-beauty")
    parser.add_argument("--order", default="published")
    parser.add_argument("--only-scale", action="store_true", help="measure this part anew and keep the others")
    options = parser.parse_args()
    ws = Workspace(options.dataset, options.order)
    account = _stored() if options.only_scale else measure(ws)
    account["scale_ms"] = {name: {rows: scale(rows, *way) for rows in ROWS} for name, way in ways().items()}
    account["scale_machine"] = measured.sentence()
    plot(account["scale_ms"], measured.RESULTS / "ranking.svg")
    measured.write("ranking", account, page(account, ws))
    say((measured.RESULTS / "ranking.md").read_text(encoding="utf-8"))


def _stored() -> dict[str, Any]:
    """What was measured last; JSON makes names of numbers."""
    account = storage.read_json(measured.RESULTS / "ranking.json")
    return account | {"parts_ms": {int(batch): parts for batch, parts in account["parts_ms"].items()}}


def measure(ws: Workspace) -> dict[str, Any]:
    """Everything but the scale."""
    memory.keep_freed()
    seed_everything(1)
    plain = resolve(ws, model="deepfm", framework="none", recipe="strict", seed=1)
    batches, shape = load(ws, plain)
    train_N = batches.rows.of_epoch(1)
    account: dict[str, Any] = {"turns": TURNS, "measured_on": measured.sentence()}
    for batch in (128, 1024):
        loops = {"bare": bare_loop(batches, shape, plain), "ours": our_loop(batches, shape, plain)}
        found = rates(loops, train_N, batch)
        medians = {name: round(statistics.median(values)) for name, values in found.items()}
        account[f"batch_{batch}"] = {**medians, "ratio": round(ratio(found, "ours", "bare"), 3)}
        say(f"batch {batch}: {account[f'batch_{batch}']}")
    account["parts_ms"] = {batch: parts_of_a_step(batches, shape, replace(plain, batch=batch)) for batch in (128, 1024)}
    llm_cf = resolve(ws, model="deepfm", framework="llm-cf", recipe="strict", seed=1)
    with_examples, its_shape = load(ws, llm_cf)
    account["llm_cf"] = {model: beside_its_backbone(ws, model, with_examples, its_shape) for model in MODELS}
    account["llm_cf_parts_ms"] = parts_of_a_step(with_examples, its_shape, llm_cf)
    return account


def page(account: dict[str, Any], ws: Workspace) -> str:
    """The figures as Markdown."""
    lines = [
        "# Training a ranker",
        "",
        f"`python -m benchmarks.ranking --dataset {ws.dataset} --order {ws.order}` on {account['measured_on']}; "
        f"medians over {account['turns']} turns of {SECONDS:.0f} s, loops in turns.",
        "",
        "| batch | bare loop, rows/s | ours, rows/s | ours / bare |",
        "|---|---|---|---|",
    ]
    for batch in (128, 1024):
        one = account[f"batch_{batch}"]
        lines.append(f"| {batch} | {one['bare']:,} | {one['ours']:,} | {one['ratio']:.2f} |")
    lines += [
        "",
        f"The floor is {FLOOR} at batch 128. Where a step's time goes, milliseconds (the tables are part of forward):",
        "",
        "| | " + " | ".join(PARTS) + " |",
        "|---|" + "---|" * len(PARTS),
    ]
    every = {f"DeepFM, {batch}": parts for batch, parts in account["parts_ms"].items()}
    for name, parts in {**every, "DeepFM with LLM-CF, 2048": account["llm_cf_parts_ms"]}.items():
        lines.append(f"| {name} | " + " | ".join(f"{parts[part]:.2f}" for part in PARTS) + " |")
    lines += [
        "",
        f"LLM-CF beside its backbone at batch 2,048: steps of the backbone that one of LLM-CF takes (the aim is "
        f"{CEILING:.0f}), by the precision of its products.",
        "",
        "| backbone | rows/s without LLM-CF | LLM-CF, float32 | LLM-CF, bfloat16 |",
        "|---|---|---|---|",
        *(
            f"| {model} | {one['backbone']:,} | {one['float32']:.1f} x | {one['bfloat16']:.1f} x |"
            for model, one in ((model, account["llm_cf"][model]) for model in MODELS)
        ),
        "",
        f"Milliseconds a step against rows of the user table (batch 1,024; averages of the weights included), with "
        f"dense Adam over every row, and by rows; on {account['scale_machine']}:",
        "",
        f"| rows | {' | '.join(ways())} |",
        "|---|" + "---|" * len(ways()),
    ]
    for rows in ROWS:
        spent = [account["scale_ms"][name][rows] for name in ways()]
        lines.append(f"| {rows:,} | " + " | ".join("failed" if ms is None else f"{ms:.1f}" for ms in spent) + " |")
    return "\n".join([*lines, "", "![scale](ranking.svg)", ""])


if __name__ == "__main__":
    main()
