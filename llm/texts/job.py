"""What a verb that writes texts fills in: what it asks, and what its table holds. The rest is `llm.texts.machine`."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, ClassVar, Protocol

import pyarrow as pa

from core import steps
from llm import budget, prompts
from llm.contexts import Context
from llm.engines import Sampling
from llm.texts.cache import prompt_hash
from llm.texts.recipes import Manner
from llm.texts.wording import TextPrompt

_SHARED = ("budget", "contexts", "prompts", "quality")
_OURS = ("job", "machine", "recipes", "wording", "writing")
_ROWS = ("core/data/sampling.py", "core/data/texts.py")  # which are asked about, and their words
CODE = ("llm/engines", *(f"llm/{name}.py" for name in _SHARED), *(f"llm/texts/{name}.py" for name in _OURS), *_ROWS)


class TextConfig(Protocol):
    """What the configurations of the verbs that write have in common; each is a dataclass."""

    __dataclass_fields__: ClassVar[dict[str, Any]]

    @property
    def model(self) -> str: ...
    @property
    def seed(self) -> int: ...
    @property
    def manner(self) -> Manner: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What the model is asked about one subject.

    Args:
        row: the columns that say what a text is of.
        context: what the prompt shows, within its budget of tokens.
        openings: of the answer's parts.
        names: of the texts that answer, one a candidate.
    """

    row: dict[str, Any]
    context: Context
    prompt: str
    openings: tuple[str, ...]
    names: tuple[str, ...]


def _as_it_is(table: pa.Table, asked: Sequence[Question]) -> pa.Table:  # noqa: ARG001
    return table


@dataclass(frozen=True, slots=True, kw_only=True)
class TextJob:
    """The texts of one verb.

    Args:
        wording: version of the prompts.
        folder: what the texts fill, as texts.parquet of `schema`.
        inputs, code: as a `steps.Step` has them.
        ask: every question, put for the model in a folder.
        summarise: what there is to say about the table beside what the machine says.
        strip_decision: drop sentences that say how it ended.
        choose: the rows that are kept, of those that have a usable text.
    """

    verb: str
    config: TextConfig
    wording: str
    folder: Path
    inputs: Sequence[Path]
    code: Sequence[str]
    schema: pa.Schema
    ask: Callable[[Path], list[Question]]
    summarise: Callable[[pa.Table], dict[str, Any]]
    strip_decision: bool
    choose: Callable[[pa.Table, Sequence[Question]], pa.Table] = _as_it_is
    recipe: str | None = None

    def step(self, config: Mapping[str, Any]) -> steps.Step:
        return steps.Step(folder=self.folder, config=dict(config), inputs=self.inputs, code=self.code)


def questions(
    subjects: Sequence[tuple[dict[str, Any], Context]],
    put: Callable[[Context], TextPrompt],
    model: Path,
    *,
    newest: int,
    tokens: int,
    candidates: int = 1,
) -> list[Question]:
    """The question about each subject, in their order.

    Args:
        subjects: the columns that say what a text is of, and what may be known of it.
        model: the folder whose tokenizer and chat template the prompts are for.
        newest, tokens: as `budget.fit` has them.
    """
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(model, local_files_only=True)

    def shown(context: Context) -> tuple[str, tuple[str, ...]]:
        prompt = put(context)
        return prompts.render(prompt.messages, tokenizer), prompt.openings

    def whole(context: Context) -> str:
        prompt, openings = shown(context)
        return prompt + "".join(openings)

    known = [context for _, context in subjects]
    fitted = budget.fit(known, whole, tokenizer, newest=newest, tokens=tokens)
    asked = []
    for (row, _), context in zip(subjects, fitted, strict=True):
        prompt, openings = shown(context)
        names = tuple(prompt_hash(prompt, openings, candidate) for candidate in range(candidates))
        asked.append(Question(row=row, context=context, prompt=prompt, openings=openings, names=names))
    return asked


def options(config: TextConfig) -> dict[str, Any]:
    """The options that ask for `config`: its engine, model and seed, and what is not as it comes; 0 stands for all."""
    values = asdict(config)
    always = ("engine", "model", "seed")
    given = [f.name for f in fields(config) if f.name in always or values[f.name] != f.default]
    return {name: 0 if values[name] is None else values[name] for name in given if name != "sampling"}


def stored_fields(kind: type[TextConfig], stored: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a configuration out of what JSON keeps of it."""
    found = {field.name: stored[field.name] for field in fields(kind) if field.name in stored}
    return found | {"sampling": Sampling(**stored["sampling"])}
