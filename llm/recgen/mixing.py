"""What the language model is tuned on: recommendation rows, and general instructions mixed in (paper section 4.2)."""

import json
import os.path
import random
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from core import settings, storage
from core.data import sampling, texts
from core.errors import UsageError
from core.settings import PROJECT, Workspace
from llm import budget, prompts
from llm.contexts import Context, contexts, training_split
from llm.recgen.recipes import Mix

OWN_INSTRUCTIONS = PROJECT / "llm" / "general_instructions.jsonl"
LICENCES = {
    "llmcf": "Apache-2.0",
    "lima": "CC BY-NC-SA",
    "alpaca_en_demo": "CC BY-NC",
    "self_instruct_seed": "Apache-2.0",
    "self_instruct_user_oriented": "Apache-2.0",
}
PURPOSE = "recgen"  # of the sample of rows: those of other purposes are independent of it
_HELD_OUT = 10  # one general instruction in ten is kept for evaluation
_ANSWER_TOKENS = 4  # of "Yes" or "No" and its end
_TEXT_LIMIT = 4000  # characters of one general text; the worker cuts to tokens

Sample = dict[str, Any]  # {"text": what comes first, "branches": [[what follows, the answer], ...], "source": ...}
Instruction = dict[str, Any]  # {"messages": [...], "answer": ..., "source": ...}


def mixed(
    ws: Workspace, mix: Mix, general: Path, tokenizer: Any, max_tokens: int
) -> tuple[list[Sample], pa.Table, dict[str, Any]]:
    """The samples in training order, the table (`row`) of rows they were made of, and source -> rows and licence.

    Rows come from the training split only; `share` of a run's rows are the first part of that run's, so `half` is the
    half of `full`.
    """
    rows = rows_of(ws, mix)
    whole = round(rows.num_rows / mix.share) if mix.share else 0
    chosen = instructions(general, tokenizer, round(whole * mix.general_share / (1 - mix.general_share)), mix)
    samples = [*recommendation(ws, rows, tokenizer, max_tokens), *chosen]
    rng = random.Random(mix.seed)  # noqa: S311 - an order, not secrets
    rng.shuffle(samples)
    if mix.order != "mixed":
        samples.sort(key=lambda one: (one["source"] != ws.dataset) == (mix.order == "general-last"))
    counts: Counter[str] = Counter()
    for one in samples:
        counts[one["source"]] += len(one["branches"])
    licences = LICENCES | {ws.dataset: "see NOTICE"}
    sources = {name: {"rows": counts[name], "licence": licences.get(name, "see its file")} for name in sorted(counts)}
    return samples, rows.select(["row"]), sources


def rows_of(ws: Workspace, mix: Mix) -> pa.Table:
    """The recommendation rows of a run: positives, each with its negative."""
    split = training_split(ws)
    available = split.num_rows // 2
    pairs = available if mix.rows is None else min(max(mix.rows // 2, 1), available)
    return sampling.draw_pairs(split, round(pairs * mix.share), seed=mix.seed, purpose=PURPOSE)


def recommendation(ws: Workspace, rows: pa.Table, tokenizer: Any, max_tokens: int) -> list[Sample]:
    """The rows as questions with Yes or No; a long one loses its oldest history.

    A positive and its negative have the same history, so they share a sample: the model reads the history once, and
    then either target by itself.
    """
    asked = task_texts(ws, rows, tokenizer, max_tokens - 2 * _ANSWER_TOKENS)
    answers = [prompts.task_answer(label) for label in rows["label"].to_pylist()]
    return [
        {"text": shared, "branches": [[tail, answers[place]] for place, tail in branches], "source": ws.dataset}
        for shared, branches in branched(asked, rows)
    ]


def task_texts(ws: Workspace, rows: pa.Table, tokenizer: Any, tokens: int) -> list[str]:
    """The recommendation task of each row as the model reads it, in at most `tokens` tokens."""
    words = prompts.domain(ws.dataset)

    def render(context: Context) -> str:
        return prompts.render(prompts.task_prompt(context, words), tokenizer)

    fitted = budget.fit(contexts(ws, rows), render, tokenizer, newest=prompts.TASK_HISTORY, tokens=tokens)
    return list(map(render, fitted))


def branched(texts_of: Sequence[str], rows: pa.Table) -> list[tuple[str, list[tuple[int, str]]]]:
    """Texts of one user and position as what they share, up to an end of line, and how each goes on.

    A line's end is always a token's end, so that the parts have the tokens of the whole.
    """
    groups: dict[tuple[int, int], list[int]] = {}
    for place, key in enumerate(zip(rows["user"].to_pylist(), rows["position"].to_pylist(), strict=True)):
        groups.setdefault(key, []).append(place)
    found = []
    for places in groups.values():
        shared = os.path.commonprefix([texts_of[place] for place in places])  # noqa: RUF071 - of texts
        if len(places) > 1:
            shared = shared[: shared.rfind("\n") + 1]
        found.append((shared, [(place, texts_of[place][len(shared) :]) for place in places]))
    return found


def instructions(path: Path, tokenizer: Any, count: int, mix: Mix) -> list[Sample]:
    """`count` general instructions in a seeded order; a set that is too small is gone through again."""
    known = [one for one in read_instructions(path) if not held_out(one)]
    rng = random.Random(mix.seed)  # noqa: S311 - sampling, not secrets
    rng.shuffle(known)
    if mix.sampling == "by-source":
        known = _in_turn(known)
    chosen = [known[number % len(known)] for number in range(count)]
    return [
        {"text": prompts.render(one["messages"], tokenizer), "branches": [["", one["answer"]]], "source": one["source"]}
        for one in chosen
    ]


def held_out(sample: Instruction) -> bool:
    """Whether an instruction is kept for evaluation: no run trains on it."""
    return int(storage.digest(sample["messages"])[:8], 16) % _HELD_OUT == 0


ROWS_OF = b"rows_of"  # in the metadata of a tuned model's rows: the content of the training rows that they number


def general_file() -> Path:
    """General instructions: the shared file where there is one, else the product's own small set."""
    shared = settings.shared() / "data" / "general_instructions" / "general_instructions.jsonl"
    return shared if shared.is_file() else OWN_INSTRUCTIONS


def read_instructions(path: Path) -> list[Instruction]:
    """General instruction and answer pairs from JSON lines {source, instruction, input, output}.

    Raises:
        UsageError: naming the file and line that is not such an object.
    """
    out = []
    for number, line in enumerate(path.read_text(encoding="utf-8").split("\n"), start=1):
        if not line.strip():
            continue
        try:
            entry = json.loads(line)
            question = "\n".join(filter(None, [entry["instruction"], entry.get("input", "")]))
            answer, source = entry["output"], entry["source"]
            said = bool(question.strip() and answer.strip())
        except (json.JSONDecodeError, KeyError, TypeError, AttributeError) as error:
            raise UsageError(
                f"{path}, line {number}: not an object with source, instruction, output ({error})"
            ) from None
        if said:
            message = {"role": "user", "content": texts.clean(question, _TEXT_LIMIT)}
            out.append({"messages": [message], "answer": answer[:_TEXT_LIMIT], "source": source})
    if not out:
        raise UsageError(f"{path} holds no instructions")
    return out


def _in_turn(samples: Sequence[Instruction]) -> list[Instruction]:
    """One of each source after the other, small sources again and again: as many of each as the largest has."""
    by_source: dict[str, list[Instruction]] = {}
    for sample in samples:
        by_source.setdefault(sample["source"], []).append(sample)
    longest = max(map(len, by_source.values()))
    return [group[turn % len(group)] for turn in range(longest) for group in by_source.values()]
