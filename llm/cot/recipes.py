"""How chains of thought are chosen, asked for and written."""

from dataclasses import dataclass, field

from core.contracts import RECIPES
from core.errors import UsageError, check_choice
from llm import engines
from llm.defaults import ENGINE, SEED
from llm.engines import Sampling
from llm.texts.recipes import ATTEMPTS, PROMPT_TOKENS, Manner

SELECTIONS = ("uniform", "representative")
COMMENTS = ("own", "none")
_CONTEXT = 2048  # tokens of a prompt and its text, with which vLLM is started
_GUIDED = 4  # parts of a guided text


@dataclass(frozen=True, slots=True, kw_only=True)
class Style:
    """A way to ask, worded in `llm.cot.wording`; see `Manner` for the fields."""

    part_tokens: int
    sentence: bool


STYLES = {
    "guided": Style(part_tokens=28, sentence=True),  # four parts; for small models
    "led": Style(part_tokens=64, sentence=False),  # one opening with the facts
    "free": Style(part_tokens=256, sentence=False),  # nothing but the question; for large models
}


@dataclass(frozen=True, slots=True, kw_only=True)
class GenerateConfig:
    """Everything the texts depend on besides the rows.

    Args:
        model: as `llm.models.find_model` knows it.
        limit: M, the number of rows; None is a tenth of the training rows. A larger M keeps the rows of a smaller.
        selection: how rows are chosen, one of SELECTIONS.
        comments: which a prompt shows, one of COMMENTS: the user's own on the items of the history, or none.
        part_tokens: bound of the model's share of a part; None is the style's own.
        prompt_tokens: longest prompt; a longer one loses its comments and its oldest history, see `budget.fit`.
        candidates: texts written for a row, of which the best by the quality score is kept.
        attempts: how often a faulty text is asked for before its row is dropped.
    """

    engine: str = ENGINE
    model: str = "recgen"
    recipe: str = RECIPES[0]
    seed: int = SEED
    limit: int | None = 1000
    selection: str = SELECTIONS[0]
    style: str = "guided"
    comments: str = COMMENTS[0]
    part_tokens: int | None = None
    prompt_tokens: int = PROMPT_TOKENS
    candidates: int = 1
    attempts: int = ATTEMPTS
    sampling: Sampling = field(default_factory=Sampling)

    def __post_init__(self) -> None:
        check_choice("engine", self.engine, engines.NAMES)
        check_choice("recipe", self.recipe, RECIPES)
        check_choice("selection", self.selection, SELECTIONS)
        check_choice("style", self.style, STYLES)
        check_choice("comments", self.comments, COMMENTS)
        bounds = {
            "--limit": (self.limit, 1, 10**9),
            "--part-tokens": (self.part_tokens, 1, 1024),
            "--candidates": (self.candidates, 1, 16),
            "--attempts": (self.attempts, 1, 16),
        }
        for option, (value, low, high) in bounds.items():
            if value is not None and not low <= value <= high:
                raise UsageError(f"{option} {value} is not between {low} and {high:,}")
        parts, each = (_GUIDED if self.style == "guided" else 1), self.manner.part_tokens
        if (longest := self.prompt_tokens + parts * each) > _CONTEXT:
            raise UsageError(
                f"a prompt of {self.prompt_tokens:,} tokens and {parts} x {each:,} of parts are {longest:,}, more than "
                f"the {_CONTEXT:,} that an engine takes; lower --prompt-tokens or --part-tokens"
            )

    @property
    def told(self) -> bool:
        """Whether the model is told how it ended, as the authors' prompt does."""
        return self.recipe == "paper"

    @property
    def manner(self) -> Manner:
        style = STYLES[self.style]
        return Manner(
            engine=self.engine,
            seed=self.seed,
            sampling=self.sampling,
            part_tokens=self.part_tokens or style.part_tokens,
            sentence=style.sentence,
            attempts=self.attempts,
        )
