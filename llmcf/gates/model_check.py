"""`llmcf llm check`: a language model held against the pinned one before it writes, on the same held-out rows.

Nothing is pinned here: `llmcf llm pin --checked` rests on what is written. Where nothing is pinned, or the untuned
`base` is, a model is held against the one that it was tuned from.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from math import isfinite
from pathlib import Path
from typing import Any

import pyarrow as pa

from core import alerts, steps, storage
from core.alerts import Alert
from core.contracts import SEED
from core.errors import LlmcfError, NotPassed, UsageError
from core.progress import say
from core.result import Result
from core.settings import Workspace
from llm import learnt, models, pins
from llm.defaults import LLM, PINNED
from llm.pins import Pin
from llm.recgen import evaluate, measures
from llm.recgen.evaluate import Evaluation
from llm.recgen.recipes import Size
from llmcf.gates import figures, model_verdicts
from llmcf.gates.deciding import Absent, Fault, Found, decide, reasons, text
from llmcf.gates.model_verdicts import Verdict
from llmcf.serving import thresholds
from llmcf.serving.thresholds import LLM_GATES, Thresholds
from llmcf.serving.verdicts import FAILED

ALERT = "llm-check"
SIZE = Size(questions=0)  # MMLU takes minutes more, and lies outside of the project
_FEWEST = 100  # pairs that two models are compared on; of fewer, the interval is wider than any margin
_MEASURES = {"llm_auc": "auc", "llm_nats": "nats", "llm_degenerate": "degenerate", "llm_mmlu": "mmlu"}
_UNITS = {"llm_nats": "held-out answers", "llm_degenerate": "texts", "llm_mmlu": "questions"}
assert tuple(_MEASURES) == LLM_GATES


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """A model that is asked.

    Args:
        kind: how figures tell of it: tuned, untuned, pinned.
        pin: the note, of the pinned one.
    """

    name: str
    folder: Path
    kind: str = "tuned"
    pin: Pin | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Rows:
    """Held-out rows, in pairs.

    Args:
        asked: what the checked model is asked about.
        shared: those of them that the other one is asked about too: all or none.
        why: there are none.
    """

    asked: pa.Table
    shared: pa.Table
    why: str = ""


def check(ws: Workspace, *, model: str, seed: int, size: Size = SIZE) -> Result:
    """Check a model and keep what was found beside it; one that fails sends one alert, `require_passed` then objects.

    Args:
        model: as `models.find_model` knows it, but the pinned one.
        size: `questions` of 0 leaves MMLU out.

    Raises:
        UsageError, LlmcfError: if the model is unknown, not tuned or the pinned one, if the data set's limits are
            faulty, or the workspace's rows are missing.
    """
    start, limits = time.monotonic(), thresholds.load(ws.dataset)
    if model == PINNED:
        raise UsageError(f"--model {PINNED}: it is what others are held against; name the one that shall be pinned")
    name, folder = models.find_model(ws, model, seed=seed)
    one = Model(name=name, folder=folder)
    verdict = _verdict(ws, one, size, limits)
    written = model_verdicts.write(ws, verdict)
    if not verdict.passed:
        _alert(ws, verdict)
    return Result(
        verb="llm check",
        workspace=ws,
        seed=seed,
        seconds=time.monotonic() - start,
        artifacts={"check": str(written), "model": str(one.folder)},
        details={
            "model": verdict.name,
            "hash": verdict.model,
            "state": verdict.state,
            "against": verdict.against,
            "not_compared": verdict.compared,
            "rows": verdict.rows,
            "gates": verdict.as_json()["gates"],
            "text": text(verdict.gates),
        },
    )


def require_passed(result: Result) -> None:
    """Raises NotPassed if the check found that a gate fails."""
    failed = [gate for gate in result.details["gates"] if gate["state"] == FAILED]
    if failed:
        why = "; ".join(f"{gate['name']}: {gate['reason']}" for gate in failed)
        raise NotPassed(f"{result.details['model']} does not pass, what is pinned stays: {why}")


def _verdict(ws: Workspace, one: Model, size: Size, limits: Thresholds) -> Verdict:
    key, pin = models.model_hash(one.folder), pins.read(ws)
    other, why = against(ws, one, pin)
    mmlu = "not asked for" if not size.questions else _no_mmlu()
    asked = replace(size, questions=0) if mmlu else size
    rows = rows_for(ws, other, size)
    ours = _guarded(lambda: _evaluation(ws, one, rows.asked, asked))
    theirs = None
    if other and isinstance(ours, Evaluation):
        told = _guarded(lambda: _evaluation(ws, other, rows.shared, asked))
        theirs, broken = (None, told.why) if isinstance(told, Fault) else (told, _broken(told))
        if broken:
            theirs, why = None, f"the {other.kind} {other.name} {broken}"
    alike = theirs is not None and other is not None and _same_words(one.folder, other.folder)
    notes = [why, rows.why, "" if theirs is None or alike else "another tokenizer: nats a token are not comparable"]
    if compared := "; ".join(filter(None, notes)):
        say(compared)
    found = _found(ours, theirs, alike=alike, mmlu=mmlu, limits=limits, kind=other.kind if other else "")
    return Verdict(
        name=one.name,
        model=key,
        pinned=pin.hash if pin else None,
        against=f"{other.kind} {other.name}" if other and theirs else "",
        compared=compared,
        limits=limits.llm_digest,
        checked=f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}",
        size=asdict(asked),
        rows={"rows": rows.asked.num_rows, "compared": rows.shared.num_rows if theirs else 0},
        gates=tuple(decide(name, found[name], limits) for name in LLM_GATES),
    )


def against(ws: Workspace, one: Model, pin: Pin | None) -> tuple[Model | None, str]:
    """The model that this one is held against, and why it is not another; None where there is none to be had."""
    untuned, why = _untuned(one.folder)
    is_base = pin is not None and pin.order is None and pin.name == LLM
    if pin is not None and not (is_base and untuned):
        try:
            return Model(name=pin.name, folder=models.pinned_folder(ws, pin), kind="pinned", pin=pin), ""
        except LlmcfError as error:
            return untuned, str(error)
    return untuned, why


def _untuned(folder: Path) -> tuple[Model | None, str]:
    """What a model was tuned from, as its stamp tells."""
    made = (steps.Step(folder=folder, config=None).stamp() or {}).get("summary", {})
    if "base" not in made:
        return None, "nothing is pinned, and what it was tuned from is not known: the bounds decide alone"
    try:
        path = models.llm_path(made["base"])
    except LlmcfError as error:
        return None, f"what it was tuned from is not here, so the bounds decide alone: {error}"
    if made.get("base_hash") not in (None, models.model_hash(path)):
        return None, f"{made['base']} is not what it was tuned from any more: the bounds decide alone"
    return Model(name=Path(made["base"]).name, folder=path, kind="untuned"), ""


def rows_for(ws: Workspace, other: Model | None, size: Size) -> Rows:
    """Held-out rows of the workspace, those that the pinned model may have read left out.

    Where too few are left, the checked model is asked about its own and compared on none.
    """
    own = evaluate.held_out_rows(ws, None, seed=SEED)
    pin = other.pin if other else None
    free = own if pin is None or other is None else learnt.unread(own, other.folder, until=pin.until)
    pairs = free.num_rows // 2
    if pairs >= min(_FEWEST, size.pairs, own.num_rows // 2):
        some = evaluate.sample(free, size.pairs, seed=SEED)
        return Rows(asked=some, shared=some)
    some = evaluate.sample(own, size.pairs, seed=SEED)
    why = f"the pinned model may have read all but {pairs:,} of {own.num_rows // 2:,} held-out interactions"
    return Rows(asked=some, shared=some.slice(0, 0), why=f"{why}: of AUC the bound decides alone")


def _evaluation(ws: Workspace, one: Model, rows: pa.Table, size: Size) -> Evaluation:
    what = storage.digest(models.model_hash(one.folder), rows["row"].to_pylist(), asdict(size))[:16]
    place = ws.path("evaluations", "checked", what)
    return evaluate.evaluated(ws, place, one.folder, size, seed=SEED, rows=rows, name=one.name)[0]


def _guarded(measure: Callable[[], Evaluation]) -> Evaluation | Fault:
    """What a model does, or why it does nothing: weights that are torn, of another shape, or too large."""
    from safetensors import SafetensorError

    try:
        return measure()
    except (SafetensorError, RuntimeError, ValueError) as error:
        return Fault(f"cannot be asked: {type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}")


def _no_mmlu() -> str:
    """Why MMLU cannot be asked; "" if it can."""
    try:
        evaluate.mmlu_folder()
    except LlmcfError as error:
        return str(error)
    return ""


def _same_words(first: Path, second: Path) -> bool:
    """Whether a token is the same to both."""
    from transformers import AutoTokenizer

    one, other = (AutoTokenizer.from_pretrained(path, local_files_only=True).get_vocab() for path in (first, second))
    return one == other


def _broken(one: Evaluation) -> str:
    """What of an evaluation is no number."""
    for what, values in (("P(Yes) of rows", one.p_yes), ("the likelihood of answers", one.nats)):
        if bad := sum(not isfinite(value) for value in values):
            return f"gives what is no number: {what}, {bad} of {len(values)}"
    return ""


def _found(
    ours: Evaluation | Fault, theirs: Evaluation | None, *, alike: bool, mmlu: str, limits: Thresholds, kind: str
) -> dict[str, Found]:
    """What each gate is decided on."""
    if isinstance(ours, Evaluation) and (broken := _broken(ours)):
        ours = Fault(broken)
    if isinstance(ours, Fault):
        return {gate: ours if gate != "llm_mmlu" else Absent("the model was not asked") for gate in LLM_GATES}
    found: dict[str, Found] = {}
    for gate, name in _MEASURES.items():
        one, units = measures.statistic(name, ours) if _count(ours, name) else (None, 0)
        if one is None:
            found[gate] = Absent(mmlu) if name == "mmlu" else Fault("there is nothing held out to ask about")
            continue
        comparable = theirs is not None and _count(theirs, name) and (alike or name != "nats")
        other = measures.statistic(name, theirs) if theirs is not None and comparable else None
        note = f"{len(ours.label):,} rows of {units:,} users" if name == "auc" else f"{units:,} {_UNITS[gate]}"
        found[gate] = figures.paired((one, units), other, limits, note=note, beside=(kind, "model"))
    return found


def _count(one: Evaluation, name: str) -> int:
    values: dict[str, Sequence[Any]] = {"auc": one.label, "nats": one.nats, "mmlu": one.correct}
    return len(values.get(name, one.degenerate))


def _alert(ws: Workspace, verdict: Verdict) -> None:
    """Once for each model and what it failed."""
    failed = [gate for gate in verdict.gates if gate.state == FAILED]
    alerts.send(
        Alert(
            id=f"{ws.dataset} llm {verdict.model} {' '.join(verdict.failed)}",
            kind=ALERT,
            dataset=ws.dataset,
            text=f"{verdict.name} of {ws.as_of} does not pass its check, what is pinned stays: {reasons(failed)}",
            figures={gate.name: gate.value for gate in failed},
        )
    )
