"""Every control measured on a workspace, an account each: what a table of trained models is read beside."""

import time
from typing import Any

from torch import Tensor

from core import steps
from core.data import tables
from core.errors import Missing
from core.progress import say
from core.settings import Workspace
from ict.examples import text_vectors
from retrieval_stage import controls, evaluation
from retrieval_stage.account import Evaluator
from retrieval_stage.evaluation import Score
from retrieval_stage.inputs import offered, require_splits
from retrieval_stage.sequences import Sequences
from retrieval_stage.takings import Takings
from retrieval_stage.transition_graph import ONE_MORE_STEP, SECOND_LAST

NAMES = ("popularity", "lately", "transitions", "text", "graph+text")
TEXT_WEIGHTS = (0.25, 0.5, 1.0, 2.0, 4.0, 8.0)  # of the cosine, beside transitions

Line = dict[str, Any]


def measure(ws: Workspace) -> tuple[list[Line], dict[str, str]]:
    """One line a control that can be measured, and for each other one what is to be done first.

    A line has the control's `name`, its `settings`, the figures of an `Account` and `seconds`, tuning included.

    Raises:
        LlmcfError: if the rows are missing, naming the verb, or a split of them is empty.
    """
    evaluator = _evaluator(ws)
    vectors_VE, lacking = _item_vectors(ws)
    lines = []
    for name in NAMES:
        if vectors_VE is None and "text" in name:
            say(f"{name}: left out, {lacking}")
            continue
        start = time.monotonic()
        score, settings = _control(name, evaluator, vectors_VE)
        account = evaluator.account(score)
        seconds = round(time.monotonic() - start, 2)
        lines.append({"name": name, "settings": settings, **account.figures(), "seconds": seconds})
        test = account.metrics["test"]["masked"]
        say(f"{name}: HIT@10 {test['hit@10']:.4f}, NDCG@10 {test['ndcg@10']:.4f}, {seconds:.0f} s")
    return lines, {name: lacking for name in NAMES if lacking and "text" in name}


def _evaluator(ws: Workspace) -> Evaluator:
    steps.require_current(ws.path("training"), tables.remedy(ws, "features join"))
    rows = tables.training_rows(ws)
    sequences = Sequences.of(rows)
    require_splits(ws, sequences)
    return Evaluator.of(rows, sequences, offered(ws))


def _item_vectors(ws: Workspace) -> tuple[Tensor | None, str]:
    """The vectors of item texts, or why there are none."""
    verb = "cot embed" if ws.cot("texts").exists() else "cot embed --items-only"
    try:
        return text_vectors(ws, tables.remedy(ws, verb))["items"], ""
    except Missing as error:
        return None, str(error)


def _control(name: str, evaluator: Evaluator, vectors_VE: Tensor | None) -> tuple[Score, dict[str, float]]:
    """Its scores, and the numbers that it was made with."""
    sequences, takings, offered_V = evaluator.sequences, evaluator.takings, evaluator.offered_V

    def scored(evidence: controls.Evidence) -> Score:
        return controls.by_evidence(evidence, sequences, takings, offered_V)

    if name == "popularity":
        return controls.popularity(sequences, takings, offered_V), {}
    if name == "lately":
        all_takings = Takings(sequences, len(offered_V), held_out=True)
        return controls.popular_lately(sequences, all_takings, offered_V), {"days": controls.LATELY}
    of_graph = {"second_last": SECOND_LAST, "one_more_step": ONE_MORE_STEP}
    transitions = controls.Transitions(sequences, len(offered_V))
    if name == "transitions":
        return scored(transitions), of_graph
    assert vectors_VE is not None
    texts = controls.text(sequences, vectors_VE)
    if name == "text":
        return scored(texts), {}
    blends = {weight: scored(controls.sum_of(transitions, texts, weight)) for weight in TEXT_WEIGHTS}
    weight = tuned(blends, sequences)
    return blends[weight], {**of_graph, "text_weight": weight}


def tuned(scores: dict[float, Score], sequences: Sequences) -> float:
    """The weight whose scores have the best NDCG@10 on validation rows, seen items masked; the smaller of equals."""
    index_B = evaluation.tuning_rows(sequences)
    found = {
        weight: evaluation.metrics_of(score, sequences, index_B)["masked"]["ndcg@10"]
        for weight, score in sorted(scores.items())
    }
    return max(found, key=lambda weight: found[weight])
