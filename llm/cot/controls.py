"""`llmcf cot control`: sets of texts made out of another, that tell what part of a chain of thought helps a ranker.

A guided text opens its parts with facts of the prompt, so its vector knows the items whoever wrote the rest.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from core import schemas, steps, storage
from core.contracts import COT_CONTROLS, SEED
from core.data import tables
from core.data.texts import clean
from core.errors import LlmcfError, UsageError, check_choice
from core.remedies import cot_verbs
from core.result import Result
from core.settings import Workspace
from llm.cot import generate, packs
from llm.quality import TEXT_LIMIT
from llm.texts.job import Question

CODE = ("llm/cot/controls.py", *generate.CODE)
_ENDS = ".!?"


def control(ws: Workspace, kind: str, *, of: str = "", seed: int = SEED) -> Result:
    """Fill the texts of the set `kind`: the same rows as the set `of` has, with another text each.

    Args:
        kind: one of COT_CONTROLS: the openings alone, the model's words alone, true texts at wrong rows, the target's
            title alone, all words dealt anew.
        of: the set it is made from, written in style `guided`; empty is the main one.
        seed: which text of another row a row gets, for `shuffled`, and which words, for `dealt`.

    Raises:
        UsageError: for an unknown kind, a set that is itself a control, or one whose texts have no openings.
        LlmcfError: if that set has no texts, naming the verb that makes them.
    """
    check_choice("control", kind, COT_CONTROLS)
    if of in COT_CONTROLS:
        raise UsageError(f"the set {of!r} is a control itself; make {kind!r} from the main set or another written one")
    source = ws.cot("texts", of)
    stamp = steps.require(source, tables.remedy(ws, cot_verbs(of)[0]))
    step = steps.Step(
        folder=ws.cot("texts", kind),
        config={"control": kind, "of": of, "seed": seed, "recipe": stamp["config"]["recipe"]},
        inputs=[source, ws.path("data"), ws.path("training")],
        code=CODE,
    )
    done = steps.run(step, lambda folder: _work(ws, kind, source, stamp, seed, folder))
    return Result(
        verb="cot control",
        workspace=ws,
        seed=seed,
        skipped=done.skipped,
        seconds=done.seconds,
        artifacts={"texts": str(done.folder / "texts.parquet")},
        details=done.summary,
    )


def facts(text: str, openings: Sequence[str]) -> str:  # noqa: ARG001
    """The openings alone, each as a sentence."""
    return " ".join(_sentence(clean(opening, TEXT_LIMIT)) for opening in openings)


def words(text: str, openings: Sequence[str]) -> str:
    """What the model wrote, without the openings.

    Raises:
        ValueError: if the text does not hold them in their order.
    """
    said, at = [], 0
    for opening in (clean(one, TEXT_LIMIT) for one in openings):
        start = text.index(opening, at)
        said.append(text[at:start])
        at = start + len(opening)
    return " ".join(part.strip(" .,;:") + "." for part in (*said, text[at:]) if part.strip(" .,;:"))


_OF_PARTS: dict[str, Callable[[str, Sequence[str]], str]] = {"facts": facts, "words": words}


def exchanged(texts: Sequence[str], seed: int) -> list[str]:
    """The same texts, each at another place: one cycle through all in a random order."""
    order = np.random.default_rng(seed).permutation(len(texts))
    found = np.empty(len(texts), dtype=object)
    found[order] = np.array(texts, dtype=object)[np.roll(order, 1)]
    return found.tolist()


def dealt(texts: Sequence[str], seed: int) -> list[str]:
    """All words of all texts in a random order, each text as many of them as it had: vectors that say nothing."""
    parts = [text.split() for text in texts]
    order = np.random.default_rng(seed).permutation(sum(map(len, parts)))
    words = iter(np.array([word for part in parts for word in part], dtype=object)[order])
    return [" ".join(next(words) for _ in part) for part in parts]


_OF_ALL: dict[str, Callable[[Sequence[str], int], list[str]]] = {"shuffled": exchanged, "dealt": dealt}


def _work(ws: Workspace, kind: str, source: Path, stamp: Mapping[str, Any], seed: int, folder: Path) -> dict[str, Any]:
    table = storage.read_table(source / "texts.parquet", schemas.COT_TEXTS, tables.remedy(ws, "cot generate"))
    texts = table["text"].to_pylist()
    if kind in _OF_ALL:
        made = _OF_ALL[kind](texts, seed)
    else:
        asked = _asked(ws, stamp)
        of_row = [asked[row] for row in table["row"].to_pylist()]
        made = [one.context.target.title for one in of_row] if kind == "titles" else _parts(kind, texts, of_row)
    column = table.schema.get_field_index("text")
    table = table.set_column(column, table.schema.field(column), pa.array(made, pa.string()))
    storage.write_table(folder / "texts.parquet", table, schemas.COT_TEXTS)
    return {
        **{name: value for name, value in stamp["summary"].items() if name in ("model", "engine", "prompt", "style")},
        "control": kind,
        "texts": len(made),
        "distinct": len(set(made)),
        "empty": made.count(""),
        "mean_characters": round(sum(map(len, made)) / len(made), 1),
    }


def _parts(kind: str, texts: Sequence[str], asked: Sequence[Question]) -> list[str]:
    try:
        return [_OF_PARTS[kind](text, one.openings) for text, one in zip(texts, asked, strict=True)]
    except ValueError:
        raise LlmcfError("these texts do not begin as the prompts of today do; write them again") from None


def _asked(ws: Workspace, stamp: Mapping[str, Any]) -> dict[int, Question]:
    """What was asked about each row, put again.

    Raises:
        UsageError: if the texts have no openings.
    """
    asked = {one.context.row: one for one in packs.asked_again(ws, stamp)}
    if not all(one.openings[0] for one in asked.values()):
        raise UsageError("these texts are of the style 'free', which has no openings; controls are made from 'guided'")
    return asked


def _sentence(text: str) -> str:
    return text if text[-1:] in _ENDS else f"{text}."
