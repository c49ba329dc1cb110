"""What each known knob gives SASRec: one change to a common start at a time, then those that help together; and
what LLM-CF's own knobs give it.

    .venv/bin/python -m benchmarks.retrieval_knobs [--dataset amazon-beauty --order published] [--only NAME ...]

Each try is one run of the real loop, one seed, measured by the tower alone, seen items taken out. A try
that is in the page's JSON under the same configuration is not run again. Writes
benchmarks/results/retrieval_knobs.{json,md}.
"""

import argparse
import json
import time
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, replace
from multiprocessing import get_context
from typing import Any

from benchmarks import measured
from core import machine, memory, storage
from core.contracts import SEED
from core.progress import say
from core.settings import Workspace
from retrieval_stage.configs import RetrievalConfig, SasRecConfig
from retrieval_stage.recipes import from_json, resolve

NAME = "retrieval_knobs"
Knobs = dict[str, Any]
EPOCHS = 8  # of every try that names no other number
GRAPH = "graph"  # added to the scores by a weight that validation chooses; no knob of the tower
START: Knobs = {"user_id": True}  # beside what recipe strict says
ALONE: dict[str, Knobs] = {
    "the start": {},
    "no user id": {"user_id": False},
    "dropout .2 on the item table": {"table_dropout": 0.2},
    "texts in the item space": {"item_text": True},
    "attributes": {"item_attributes": True},
    "averaged weights": {"averaging": 0.995},
    "batches without padding": {"trimmed": True},
    "2,048 shared negatives": {"negatives": 2048},
    "Xavier start": {"xavier": True},
    "second beta .98": {"beta2": 0.98},
    "temperature .5": {"temperature": 0.5},
    "temperature 2": {"temperature": 2.0},
    "one block": {"backbone": SasRecConfig(layers=1)},
    "dropout .4 in the blocks": {"backbone": SasRecConfig(dropout=0.4)},
    "4,096 shared negatives": {"negatives": 4096},
    "width 128": {"width": 128},
    "width 256": {"width": 256},
    "constant rate .001 in 60 epochs": {"learning_rate": 1e-3, "decay": False, "epochs": 60, "patience": 15},
    "that in 150 epochs with averaged weights": {
        "learning_rate": 1e-3,
        "decay": False,
        "epochs": 150,
        "patience": 20,
        "averaging": 0.995,
    },
}


def run(dataset: str, order: str, knobs: Knobs) -> dict[str, Any]:
    """One try: its best epoch's validation figures and the test's, by the tower alone."""
    import torch

    from core.processor import flush_denormals
    from ict.seeding import seed_everything
    from retrieval_stage import evaluation
    from retrieval_stage.blend import Blend
    from retrieval_stage.controls import Transitions
    from retrieval_stage.inputs import load
    from retrieval_stage.loop import fit
    from retrieval_stage.user_tower import build

    memory.keep_freed()
    torch.set_num_threads(1)
    flush_denormals(torch.set_flush_denormal)
    config = configured(knobs)
    start = time.monotonic()
    seed_everything(config.seed)
    data = load(Workspace(dataset=dataset, order=order), config)
    tower = build(config, data)
    epochs = fit(tower, data.sequences, data.shown)
    tower.eval()
    score = evaluation.by_tower(tower, data.sequences, data.shown)
    if knobs.get(GRAPH):
        blend = Blend({"graph": Transitions(data.sequences, len(tower.offered_V))})
        score = blend.scores(score, blend.tuned(score, data.sequences))
    best = max(epochs, key=lambda entry: entry["valid"]["hit@10"])
    return {
        "config": _plain(asdict(config)),
        "epochs": len(epochs),
        "best_epoch": best["epoch"],
        "valid": best["valid"],
        "test": evaluation.metrics_of(score, data.sequences, data.sequences.of_split("test")),
        "seconds": round(time.monotonic() - start, 1),
        "machine": machine.sentence(),
    }


def configured(knobs: Knobs) -> RetrievalConfig:
    told = START | knobs
    told.pop(GRAPH, None)
    framework = "llm-cf" if told.pop("llm-cf", False) else "none"
    strict = resolve(model="sasrec", framework=framework, recipe="strict", seed=SEED, epochs=EPOCHS)
    in_context = replace(strict.in_context, **told.pop("in_context", {}))
    return replace(strict, in_context=in_context, **told).decisive


def page(tries: dict[str, dict[str, Any]], about: str) -> str:
    """The table, the first try's figures beside each."""
    base = tries["the start"]["test"]["masked"]
    machines, made = zip(*(found["machine"].rsplit(", ", 1) for found in tries.values()), strict=True)
    lines = [
        "# SASRec, knob by knob",
        "",
        f"{about}; on {'; on '.join(dict.fromkeys(machines))}. The start is recipe strict in {EPOCHS} epochs with the "
        "user's own embedding; each row is that with what it names, the tower alone, seen items taken out. Positions "
        "count from the newest item in all of them. Rows ran at different loads of the machine, so their seconds do "
        "not compare, and each by the code of its day: what lies days apart may differ by that, too.",
        "",
        "| change | test HIT@10 | NDCG@10 | HIT@10 against the start | validation HIT@10 | best epoch | seconds "
        "| made |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for (name, found), day in zip(tries.items(), made, strict=True):
        test = found["test"]["masked"]
        gain = test["hit@10"] - base["hit@10"]
        lines.append(
            f"| {name} | {test['hit@10']:.4f} | {test['ndcg@10']:.4f} | {gain:+.4f} | {found['valid']['hit@10']:.4f} "
            f"| {found['best_epoch']} of {found['epochs']} | {found['seconds']:.0f} | {day} |"
        )
    return "\n".join([*lines, ""])


def _plain(config: dict[str, Any]) -> dict[str, Any]:
    return json.loads(json.dumps(config))


def main() -> None:
    memory.start_anew_without_cache()  # as a verb that trains
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset", default="amazon-beauty")
    parser.add_argument("--order", default="published")
    parser.add_argument("--only", nargs="+", default=list(TRIES), choices=TRIES, metavar="NAME", help="of all tries")
    parser.add_argument("--workers", type=int, default=2)
    chosen = parser.parse_args()
    wanted = {name: TRIES[name] for name in chosen.only}
    path = measured.RESULTS / f"{NAME}.json"
    kept = json.loads(path.read_text(encoding="utf-8"))["tries"] if path.exists() else {}
    due = {
        name: knobs
        for name, knobs in wanted.items()
        if name not in kept or from_json(kept[name]["config"]) != configured(knobs)
    }
    with ProcessPoolExecutor(chosen.workers, mp_context=get_context("spawn")) as pool:
        runs = {pool.submit(run, chosen.dataset, chosen.order, knobs): name for name, knobs in due.items()}
        for done in as_completed(runs):
            kept[runs[done]] = done.result()
            say(f"{runs[done]}: {kept[runs[done]]['test']['masked']}")
            ordered = {name: kept[name] for name in TRIES if name in kept}
            storage.write_json(path, {"dataset": chosen.dataset, "order": chosen.order, "tries": ordered})
    ordered = {name: kept[name] for name in TRIES if name in kept}
    about = f"{chosen.dataset}, {chosen.order}, seed {SEED}"
    measured.write(NAME, {"dataset": chosen.dataset, "order": chosen.order, "tries": ordered}, page(ordered, about))


_FACTS: Knobs = {"user_id": False, "item_text": True, "item_attributes": True}
TOGETHER: dict[str, Knobs] = {
    "texts and attributes without user id": _FACTS,
    "that with the transition graph added": _FACTS | {GRAPH: True},
    "that with averaged weights": _FACTS | {"averaging": 0.995},
    "that in 15 epochs": _FACTS | {"epochs": 15},
    "that with dropout .4": _FACTS | {"backbone": SasRecConfig(dropout=0.4)},
    "that with width 128": _FACTS | {"width": 128},
    "that at temperature 2": _FACTS | {"temperature": 2.0},
}
_LLM_CF: Knobs = {"user_id": False, "llm-cf": True, "user_in_context": False}
IN_CONTEXT: dict[str, Knobs] = {
    "LLM-CF whose examples and requests hold the user": _LLM_CF | {"user_in_context": True},
    "LLM-CF without the user": _LLM_CF,
    "that without reconstruction": _LLM_CF | {"in_context": {"alpha": 0.0}},
    "that with a tenth of w": _LLM_CF | {"scale": 0.1},
    "that behind a gate": _LLM_CF | {"fusion": "gate"},
    "that with similarities": _LLM_CF | {"in_context": {"use_similarity": True}},
    "that with w at every position": _LLM_CF | {"positions": 1.0},
    "that without chains of thought": _LLM_CF | {"in_context": {"use_cot": False}},
    "that with 8 examples": _LLM_CF | {"in_context": {"examples": 8}},
    "that with texts for a tenth of all rows": _LLM_CF | {"in_context": {"cot_set": "tenth"}, "refresh": 32},
    "that with means of the examples": _LLM_CF | {"in_context": {"pooling": "mean", "alpha": 0.0}},
}
TRIES = ALONE | TOGETHER | IN_CONTEXT

if __name__ == "__main__":
    main()
