"""`llmcf report cot`: the quality of the chains of thought of a workspace, with pictures."""

import shutil
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load_file

from core import machine, measurements, schemas, settings, steps, storage
from core.contracts import HISTORY
from core.data import tables
from core.errors import Missing
from core.measurements import Line
from core.remedies import cot_verbs
from core.result import Result
from core.settings import Workspace
from llm import quality
from llm.contexts import Context, contexts, training_split
from llm.cot import judge
from llm.defaults import SEED
from llmcf.reports import made_of, matrix_page
from llmcf.reports.measured import Table
from llmcf.reports.section import Section

TASK, PICTURE = "cot", "quality.svg"
_DRAWN = "Lengths, scores, ranks and flags of the texts"
_WHO = ("order", "model", "prompt", "style", "recipe", "set")
_FIGURES = ("mrr_item", "mrr_history", "copied_share", "score", "label_probe", "label_probe_facts")
LIMIT = 2000  # texts that are looked at by the encoder


def report(ws: Workspace, *, cot_set: str = "", seed: int = SEED, keep: bool = False) -> Result:
    """Write report.md, report.html and a picture into runs()/cot-<dataset>-<order>-<as of>[-<set>].

    Args:
        cot_set: a named set in place of the main one.
        keep: add the figures to results/cot/<dataset>.jsonl, whose lines the page shows beside each other.

    Raises:
        LlmcfError: if the texts or their vectors are missing.
    """
    start = time.monotonic()
    make, embed = (tables.remedy(ws, verb) for verb in cot_verbs(cot_set))
    stamp = steps.require(ws.cot("texts", cot_set), make)
    steps.require(ws.cot("vectors", cot_set), embed)
    found = measure(ws, cot_set=cot_set, seed=seed)
    summary = summarise(found)
    if keep:
        measurements.append(
            measurements.file(TASK, ws.dataset),
            _line(ws, stamp, summary, cot_set, seed),
            same=(*_WHO, "texts", "figures"),
        )
    part = _section(ws, cot_set, stamp, found, summary, seed)
    done = matrix_page.report(part, ws, "report cot", start, options=f"--set {cot_set}" if cot_set else "")
    return replace(done, seed=seed)


def kept(ws: Workspace, folder: Path) -> Section:
    """What `--keep` has kept of the workspace's order, as a part of a page; nothing is measured for it.

    The picture, put into `folder`, is that of the last report of these very texts, where there is one.

    Raises:
        Missing: if nothing was kept.
    """
    lines = [line for line in measurements.read(measurements.file(TASK, ws.dataset)) if line["order"] == ws.order]
    stamp = steps.Step(folder=ws.cot("texts"), config=None).stamp()
    if not lines:
        verb = "report cot --keep" if stamp else "cot generate"
        raise Missing(f"no text of {ws.dataset} is measured in the order {ws.order}", tables.remedy(ws, verb))
    own = next((line for line in reversed(lines) if stamp and line.get("texts") == stamp["content"]), None)
    reported = _folder(ws, "")
    drawn = own is not None and made_of.of(reported).get(steps.name_of(ws.cot("texts"))) == own["texts"]
    if drawn:
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(reported / PICTURE, folder / PICTURE)
    return Section(
        title=_title(ws),
        made=f"Order {ws.order}. {len(lines)} kept measurements, the last by `{lines[-1]['command']}` on "
        f"{lines[-1]['machine']}.",
        folder=folder,
        tables=[*([_quality(own["figures"])] if own else []), *_beside(lines)],
        pictures={_DRAWN: PICTURE} if drawn else {},
        missing=[_unkept(ws)] if stamp and own is None else [],
        inputs=made_of.lines(TASK, ws.dataset, lines),
        lines=lines,
    )


def _section(
    ws: Workspace, cot_set: str, stamp: dict[str, Any], found: dict[str, Any], summary: dict[str, Any], seed: int
) -> Section:
    from llmcf.reports import llm_plots

    folder, made = _folder(ws, cot_set), stamp["summary"]
    folder.mkdir(parents=True, exist_ok=True)
    llm_plots.cot_quality(found, folder / PICTURE)
    lines = measurements.read(measurements.file(TASK, ws.dataset))
    read = [ws.cot("texts", cot_set), ws.cot("vectors", cot_set), ws.path("data"), ws.path("training")]
    return Section(
        title=_title(ws),
        made=f"Order {ws.order}, as of {ws.as_of}, {summary['texts']:,} texts looked at (seed {seed}), written by "
        f"{made.get('model')} through {made.get('engine')} in style {made.get('style')}. Made by "
        f"`{_command(ws, cot_set)}` on {machine.sentence()}.",
        folder=folder,
        tables=[_quality(summary), *_beside(lines), _samples(found)],
        pictures={_DRAWN: PICTURE},
        inputs=made_of.paths(*read) | made_of.lines(TASK, ws.dataset, list(_newest(lines).values())),
        details=summary,
    )


def measure(ws: Workspace, *, cot_set: str = "", seed: int) -> dict[str, Any]:
    """What is known of a sample of the texts: arrays by name, `text` and `flags`."""
    from llm.texts.encoder import Encoder

    make, embed = (tables.remedy(ws, verb) for verb in cot_verbs(cot_set))
    table = storage.read_table(ws.cot("texts", cot_set) / "texts.parquet", schemas.COT_TEXTS, make)
    place = np.sort(np.random.default_rng(seed).permutation(table.num_rows)[:LIMIT])
    vectors = load_file(ws.cot("vectors", cot_set) / "vectors.safetensors")
    some = table.take(place)
    split = training_split(ws)
    rows = split.take(np.searchsorted(split["row"].to_numpy(), some["row"].to_numpy()))
    known, texts = contexts(ws, rows, comments=True), some["text"].to_pylist()
    history = rows["history"].combine_chunks().flatten().to_numpy().reshape(-1, HISTORY)
    mean = vectors["items"][history].sum(axis=1)
    mean /= np.maximum(np.linalg.norm(mean, axis=1, keepdims=True), 1e-9)
    content = judge.content(vectors["cot"][place], rows["item"].to_numpy(), vectors["items"], mean, seed=seed)
    stamp, label = steps.require(ws.cot("vectors", cot_set), embed), rows["label"].to_numpy()
    facts = np.concatenate([mean, vectors["items"][rows["item"].to_numpy()]], axis=1)
    return {
        "text": texts,
        "label": label,
        "characters": np.array([len(text) for text in texts]),
        "tokens": some["tokens"].to_numpy(),
        "flags": some["flags"].to_pylist(),
        "copied": np.array([quality.copied_share(t, _source(c)) for t, c in zip(texts, known, strict=True)]),
        "item": content.item_N,
        "history": content.history_N,
        **judge.scores(texts, known, Encoder(stamp["config"]["encoder"])),
        "probe": judge.label_probe(vectors["cot"][place], label, seed=seed),
        "probe_facts": judge.label_probe(facts, label, seed=seed),
    }


def summarise(found: dict[str, Any]) -> dict[str, Any]:
    """Means, the figures that reports quote."""
    flags = Counter(flag for some in found["flags"] for flag in some)
    texts = len(found["text"])
    return {
        "texts": texts,
        "distinct": len(set(found["text"])),
        "mrr_item": round(float(np.mean(found["item"])), 4),
        "mrr_history": round(float(np.nanmean(found["history"])), 4),
        "copied_share": round(float(np.mean(found["copied"])), 4),
        **{part: round(float(np.mean(found[part])), 4) for part in judge.PARTS},
        "score": round(float(np.mean([found[part] for part in judge.PARTS])), 4),
        "label_probe": round(found["probe"], 4),
        "label_probe_facts": round(found["probe_facts"], 4),
        "flags": {name: round(flags[name] / texts, 4) for name in quality.FLAGS},
    }


def _line(ws: Workspace, stamp: dict[str, Any], summary: dict[str, Any], cot_set: str, seed: int) -> dict[str, Any]:
    made, config = stamp["summary"], stamp["config"]
    return {
        "dataset": ws.dataset,
        "order": ws.order,
        "model": made["model"],
        "engine": made["engine"],
        "prompt": made["prompt"],
        "style": made["style"],
        "recipe": config["recipe"],
        "set": cot_set,
        "seed": seed,
        "written": made["texts"],
        "texts": stamp["content"],
        "figures": summary,
        "machine": machine.sentence(),
        "command": f"{_command(ws, cot_set)} --keep",
    }


def _newest(lines: Sequence[Line]) -> dict[tuple[str, ...], Line]:
    """The last line of each model, prompt, style, recipe and set."""
    return {tuple(line.get(key, "") for key in _WHO): line for line in lines}


def _beside(lines: Sequence[Line]) -> list[Table]:
    if not lines:
        return []
    rows = [
        [*map(str, who), *(f"{line['figures'][name]:.3f}" for name in _FIGURES)]
        for who, line in sorted(_newest(lines).items())
    ]
    note = "The last of each; `score` is the mean of the four parts, the probes guess the label, .5 is chance."
    return [Table("Every model and prompt that was measured and kept", note, [*_WHO, *_FIGURES], rows)]


def _source(context: Context) -> str:
    shown = (*context.history, context.target)
    return " ".join(f"{item.title} {item.brand} {item.kind} {item.comment}".rstrip() for item in shown)


def _command(ws: Workspace, cot_set: str) -> str:
    return tables.remedy(ws, "report cot" + (f" --set {cot_set}" if cot_set else ""))


def _folder(ws: Workspace, cot_set: str) -> Path:
    return settings.runs() / "-".join(["cot", ws.dataset, ws.order, ws.as_of, *filter(None, [cot_set])])


def _title(ws: Workspace) -> str:
    return f"Chains of thought of {ws.dataset}"


def _unkept(ws: Workspace) -> str:
    return f"The workspace's own texts: `{tables.remedy(ws, 'report cot --keep')}` measures them."


def _quality(summary: dict[str, Any]) -> Table:
    rows = [
        ("a text finds its own item among 1,000 (mean reciprocal rank)", summary["mrr_item"]),
        ("a text finds its own history among 1,000", summary["mrr_history"]),
        ("runs of three words copied from the facts", summary["copied_share"]),
        ("a linear probe guesses the label from the text (AUC)", summary["label_probe"]),
        ("the same from the vectors of the facts", summary["label_probe_facts"]),
        *((part, summary[part]) for part in judge.PARTS),
        *((f"flag: {name} ({why})", summary["flags"][name]) for name, why in quality.FLAGS.items()),
    ]
    note = (
        "Consistency is the cosine with a sentence that states the outcome: it is watched, and chooses under the "
        "recipe `paper` only."
    )
    return Table(
        "Quality of the texts", note, ["what", "share or mean"], [[name, f"{value:.4f}"] for name, value in rows]
    )


def _samples(found: dict[str, Any]) -> Table:
    score = np.mean([found[part] for part in judge.BLIND], axis=0)
    order = np.argsort(score)
    shown = (*order[:3], *order[len(order) // 2 :][:3], *order[-3:])
    rows = [[f"{score[place]:.2f}", _quoted(found["text"][place])] for place in shown]
    note = "The mean of coherence, completeness and relevance, and the text."
    return Table("The lowest, middle and highest scores", note, ["score", "text"], rows)


def _quoted(text: str) -> str:
    """Generated text is data: shown as code, so that nothing in it is markup."""
    return "`" + " ".join(text.replace("`", "'").split()) + "`"
