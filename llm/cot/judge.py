"""How good a chain of thought is, by a frozen encoder (METHOD 5): the four-part score, and whether it carries content.

Suffixes: N texts, E text-embedding width, V items, S sentences.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from core.data import texts
from llm import models, quality
from llm.contexts import Context, Item
from llm.cot.wording import STEPS

Floats = NDArray[np.float32]
Encode = Callable[[list[str]], Floats]  # unit vectors, zero for an empty text
PARTS = ("coherence", "completeness", "relevance", "consistency")
BLIND = PARTS[:3]  # what may choose among candidates under the leak rule: consistency knows the label
_FOLDS = 5
_OTHERS = 1000  # random items, or histories, among which a text has to find its own


@dataclass(frozen=True, slots=True)
class Content:
    """Reciprocal ranks of each text's own item, and own history, among random others, (N,); NaN without a history."""

    item_N: Floats
    history_N: Floats


def scores(written: Sequence[str], contexts: Sequence[Context], encode: Encode) -> dict[str, Floats]:
    """The four parts, each (N,), cosines.

    Coherence is the mean cosine of sentences that follow each other, completeness that of the four steps with the
    sentence nearest to each, relevance that of the text and what was known, consistency that of the text and a
    sentence that states the outcome. The last one uses the label: it is watched, and chooses only under `paper`.
    """
    sentences = [quality.split_sentences(text) for text in written]
    ends = np.cumsum([len(some) for some in sentences])
    of_sentences = encode([one for some in sentences for one in some])
    steps_4E, text_NE = encode(list(STEPS)), encode(list(written))
    known_NE = encode([_known(context) for context in contexts])
    outcome_NE = encode([_outcome(context) for context in contexts])
    groups = np.split(of_sentences, ends[:-1])
    return {
        "coherence": np.array([_coherence(some_SE) for some_SE in groups], dtype=np.float32),
        "completeness": np.array([(steps_4E @ some_SE.T).max(axis=1, initial=0).mean() for some_SE in groups]),
        "relevance": (text_NE * known_NE).sum(axis=1),
        "consistency": (text_NE * outcome_NE).sum(axis=1),
    }


def best(table: pa.Table, contexts: Mapping[int, Context], *, blind: bool) -> pa.Table:
    """One text a row: of several candidates the one with the highest mean score, ordered by row.

    Args:
        blind: leave the part that knows the label out of the mean.
    """
    from llm.texts.encoder import Encoder

    rows = table["row"].to_pylist()
    found = scores(table["text"].to_pylist(), [contexts[row] for row in rows], Encoder(models.ENCODER))
    total = np.mean([found[part] for part in (BLIND if blind else PARTS)], axis=0)
    order = np.lexsort((-total, rows))
    first = np.append(True, np.diff(np.array(rows)[order]) != 0)
    return table.take(pa.array(order[first]))


def content(
    text_NE: Floats, item_N: NDArray[np.integer], items_VE: Floats, history_NE: Floats, *, seed: int
) -> Content:
    """Whether a text can be told from any other: how high its own item and history rank by cosine.

    Args:
        items_VE: vectors of all items, `item_N` rows of them.
        history_NE: unit vector of each history, zero for an empty one.
    """
    rng = np.random.default_rng(seed)
    known = np.flatnonzero(np.linalg.norm(items_VE, axis=1) > 0)
    own_item_N = (text_NE * items_VE[item_N]).sum(axis=1)
    others_NX = text_NE @ items_VE[rng.choice(known, min(_OTHERS, len(known)), replace=False)].T
    there_N = np.linalg.norm(history_NE, axis=1) > 0
    pool = history_NE[there_N]
    pool = pool[rng.choice(len(pool), min(_OTHERS, len(pool)), replace=False)]
    own_history_N = (text_NE * history_NE).sum(axis=1)
    rank_N = 1 / (1 + (text_NE @ pool.T > own_history_N[:, None] + 1e-6).sum(axis=1))
    return Content(
        item_N=(1 / (1 + (others_NX > own_item_N[:, None] + 1e-6).sum(axis=1))).astype(np.float32),
        history_N=np.where(there_N, rank_N, np.nan).astype(np.float32),
    )


def label_probe(vectors_NE: Floats, label_N: NDArray[np.integer], *, seed: int) -> float:
    """AUC, out of fold, of a linear classifier that guesses the label from each vector.

    To be held against what the facts tell, and against texts of the same model that was told the label: a model that
    knows the fit may tell more than a line through the facts does, but not as much as one that was told.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import roc_auc_score
    from sklearn.model_selection import StratifiedKFold, cross_val_predict

    folds = StratifiedKFold(_FOLDS, shuffle=True, random_state=seed)
    model = LogisticRegression(max_iter=500)
    guess = cross_val_predict(model, vectors_NE, label_N, cv=folds, method="decision_function")
    return float(roc_auc_score(label_N, guess))


def _coherence(some_SE: Floats) -> float:
    return float((some_SE[1:] * some_SE[:-1]).sum(axis=1).mean()) if len(some_SE) > 1 else 1.0


def _known(context: Context) -> str:
    return " ".join(_said(item) for item in (*context.history, context.target))


def _outcome(context: Context) -> str:
    verb = "likes" if context.label else "does not like"
    return f"The person {verb} {context.target.title}."


def _said(item: Item) -> str:
    return texts.item_text(item.title, item.brand, [item.kind] if item.kind else [])
