"""What a tuned model can do: recommend, and still do what it could before (paper section 4.2, Figure 4).

Recommendation: AUC and LogLoss of P(Yes) on held-out rows. General ability: MMLU, the likelihood of held-out
instructions' answers, and how often a text it writes is degenerate. All of it comes back row by row, so that two models
can be compared by paired intervals.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from core import settings, steps, storage
from core.data import sampling, tables
from core.errors import LlmcfError, UsageError
from core.progress import say, track
from core.settings import Workspace
from llm import models, prompts, quality
from llm.engines import Request, Sampling, complete, open_engine
from llm.recgen import mixing
from llm.recgen.recipes import Size
from llm.recgen.scoring import Scorer

LETTERS = ("A", "B", "C", "D")
_GREEDY = Sampling(temperature=0.0, repetition_penalty=1.0)
_PROMPT_TOKENS = 512
_ANSWER_TOKENS = 256  # of a held-out instruction's answer, as far as it is looked at
_WRITTEN_TOKENS = 64
_OWN = ("checkpoint", "evaluate", "loss", "mixing", "recipes", "scoring", "worker")
_SHARED = ("budget", "contexts", "prompts", "quality")
CODE = (
    "llm/engines",
    *(f"llm/recgen/{name}.py" for name in _OWN),
    *(f"llm/{name}.py" for name in _SHARED),
    *(f"core/{name}.py" for name in ("data/sampling", "data/texts")),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """Row by row: `p_yes` with `label` and `user`, `correct` with `subject`, `nats`, `degenerate` texts."""

    p_yes: list[float]
    label: list[int]
    user: list[int]
    correct: list[bool]
    subject: list[str]
    nats: list[float]
    degenerate: list[bool]
    answers: list[str] = field(default_factory=list)

    def save(self, path: Path) -> None:
        storage.write_json(path, asdict(self))

    @classmethod
    def load(cls, path: Path) -> "Evaluation":
        return cls(**storage.read_json(path))


def evaluated(
    ws: Workspace, folder: Path, model: Path, size: Size, *, seed: int, rows: pa.Table | None = None, name: str = ""
) -> tuple[Evaluation, float]:
    """`evaluate` as a step that fills `folder`, and the seconds it took: the same again is read.

    Args:
        name: of the model, for those who look at the folder.
    """
    config = {"size": asdict(size), "seed": seed, "model": models.model_hash(model)}
    if rows is not None:
        config["rows"] = storage.digest(rows["row"].to_pylist())
    inputs = [ws.path("data"), ws.path("training"), mixing.general_file()]
    step = steps.Step(folder=folder, config=config, inputs=inputs, code=CODE)

    def work(place: Path) -> dict[str, Any]:
        evaluate(ws, model, size, seed=seed, rows=rows).save(place / "evaluation.json")
        return {"model": name} if name else {}

    done = steps.run(step, work)
    return Evaluation.load(done.folder / "evaluation.json"), done.seconds


def evaluate(ws: Workspace, model: Path, size: Size, *, seed: int, rows: pa.Table | None = None) -> Evaluation:
    """Look at the model folder `model`. The same size and seed give the same rows for every model.

    Args:
        rows: the recommendation rows, in pairs; a sample of all that are held out if not given.

    Raises:
        LlmcfError: if rows or MMLU's files are missing.
    """
    scorer = Scorer(model)
    asked = held_out_rows(ws, size.pairs, seed=seed) if rows is None else rows
    say(f"evaluate: {asked.num_rows:,} recommendation rows")
    p_yes: list[float] = []
    if asked.num_rows:
        texts = mixing.task_texts(ws, asked, scorer.tokenizer, _PROMPT_TOKENS)
        p_yes = scorer.p_yes(mixing.branched(texts, asked), len(texts)).tolist()
    correct, subject = mmlu(scorer, size.questions, seed=seed) if size.questions != 0 else ([], [])
    kept = held_out_instructions()
    nats = answer_nats(scorer, kept[: size.instructions])
    del scorer
    answers, degenerate = written(model, kept[: size.texts])
    return Evaluation(
        p_yes=p_yes,
        label=asked["label"].to_pylist(),
        user=asked["user"].to_pylist(),
        correct=correct,
        subject=subject,
        nats=nats,
        degenerate=degenerate,
        answers=answers,
    )


def held_out_rows(ws: Workspace, pairs: int | None, *, seed: int, split: str = "test") -> pa.Table:
    """A sample of held-out positives (all for None), each with its negative, ordered by row."""
    rows = tables.training_rows(ws).filter((pc.field("split") == split) & (pc.field("draw") == 0))
    return sample(rows, pairs, seed=seed)


def sample(rows: pa.Table, pairs: int | None, *, seed: int) -> pa.Table:
    """So many of the rows' positives, each with its negative, ordered by row."""
    return sampling.draw_pairs(rows, pairs, seed=seed, purpose="evaluate")


def mmlu(scorer: Scorer, questions: int | None, *, seed: int) -> tuple[list[bool], list[str]]:
    """Whether each question is answered rightly, 5-shot, and its subject. The five examples are read once a subject."""
    folder = mmlu_folder()
    shots, asked = (_by_subject(file) for file in (folder / "dev.jsonl", _test_file(folder)))
    correct, subject = [], []
    for name in track(sorted(asked), total=len(asked), what="MMLU, subjects"):
        chosen = _some(asked[name], questions, seed)
        start = f"The following are multiple choice questions (with answers) about {name.replace('_', ' ')}.\n\n"
        start += "".join(f"{_question(shot)} {shot['answer']}\n\n" for shot in shots.get(name, [])[:5])
        tails = [("", [(place, _question(one))]) for place, one in enumerate(chosen)]
        scores_NC = scorer.choices(tails, len(chosen), [f" {letter}" for letter in LETTERS], start)
        correct += [LETTERS[best] == one["answer"] for best, one in zip(scores_NC.argmax(axis=1), chosen, strict=True)]
        subject += [name] * len(chosen)
    return correct, subject


def mmlu_folder() -> Path:
    """Where MMLU's questions are, one JSON object a line.

    Raises:
        LlmcfError: if they are not there.
    """
    folder = settings.shared() / "data" / "mmlu"
    if not (folder / "dev.jsonl").is_file() or not list(folder.glob("test*.jsonl")):
        raise LlmcfError(f"{folder} lacks dev.jsonl or test.jsonl; LLMCF_SHARED names the folder that has data/mmlu")
    return folder


def held_out_instructions() -> list[mixing.Instruction]:
    """General instructions that no run trains on, in a fixed order."""
    return [one for one in mixing.read_instructions(mixing.general_file()) if mixing.held_out(one)]


def answer_nats(scorer: Scorer, instructions: Sequence[mixing.Instruction]) -> list[float]:
    """Mean negative log-likelihood of a token of each answer, in nats."""
    import torch

    from llm.recgen import worker
    from llm.recgen.loss import ResponseLoss

    loss, out = ResponseLoss(scorer.model), []
    for one in track(instructions, total=len(instructions), what="held-out answers"):
        text = prompts.render(one["messages"], scorer.tokenizer)
        sample = {"text": text, "branches": [["", one["answer"]]]}
        encoded = worker.encode(scorer.tokenizer, sample, _PROMPT_TOKENS)
        batch = {name: t.to(scorer.model.device) for name, t in worker.collate([encoded], 0).items()}
        with torch.inference_mode():
            out.append(float(loss(**batch, seed=0)))
    return out


def written(model: Path, instructions: Sequence[mixing.Instruction]) -> tuple[list[str], list[bool]]:
    """The model's greedy answers, and whether each is degenerate: empty, repeating itself, or no prose."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(model, local_files_only=True)
    requests = [
        Request(number=n, prompt=prompts.render(one["messages"], tokenizer), max_new_tokens=_WRITTEN_TOKENS)
        for n, one in enumerate(instructions)
    ]
    answers = [""] * len(requests)
    with open_engine("transformers", model, _GREEDY) as engine:
        for made in track(complete(engine, requests), total=len(requests), what="answers"):
            answers[made.number] = made.text
    return answers, [degenerate(answer) for answer in answers]


def degenerate(answer: str) -> bool:
    """Whether a text says nothing: next to no words, or the same ones again and again."""
    words = answer.lower().split()
    return not words or "repetition" in quality.flags([""], [answer], ["stop"])


def _by_subject(path: Path) -> dict[str, list[dict[str, Any]]]:
    found: dict[str, list[dict[str, Any]]] = {}
    for number, line in enumerate(path.read_text(encoding="utf-8").split("\n"), start=1):
        if not line.strip():
            continue
        try:
            one = json.loads(line)
            found.setdefault(one["subject"], []).append({key: one[key] for key in ("question", "choices", "answer")})
        except (json.JSONDecodeError, KeyError, TypeError) as error:
            raise UsageError(f"{path}, line {number}: not a question of MMLU ({error})") from None
    return found


def _test_file(folder: Path) -> Path:
    """The whole test set where it is there, else a sample of it."""
    whole = folder / "test.jsonl"
    return whole if whole.is_file() else sorted(folder.glob("test*.jsonl"))[0]


def _some(questions: Sequence[dict[str, Any]], count: int | None, seed: int) -> list[dict[str, Any]]:
    order = np.random.default_rng(seed).permutation(len(questions))
    return [questions[place] for place in sorted(order[:count])]


def _question(one: dict[str, Any]) -> str:
    options = "".join(f"\n{letter}. {choice}" for letter, choice in zip(LETTERS, one["choices"], strict=True))
    return f"{one['question'].strip()}{options}\nAnswer:"
