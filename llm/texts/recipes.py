"""How a text is written, and when a run takes no more on."""

from dataclasses import asdict, dataclass
from typing import Any

from core.errors import UsageError
from llm.engines import Sampling

PROMPT_TOKENS = 512
ATTEMPTS = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Manner:
    """With the model and the prompt, all that a text depends on.

    Args:
        part_tokens: bound of the model's share of a part.
        sentence: whether a part ends with its sentence.
        attempts: how often a faulty text is asked for before it is dropped.
    """

    engine: str
    seed: int
    sampling: Sampling
    part_tokens: int
    sentence: bool
    attempts: int

    def cache_key(self, model_hash: str) -> dict[str, Any]:
        """What names the cache of the texts that a model writes in this manner."""
        return asdict(self) | {"model": model_hash}


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """When to take no more work on, None for never; what is under way is finished."""

    rows: int | None = None
    tokens: int | None = None
    minutes: float | None = None

    def __post_init__(self) -> None:
        for name, value in (("--max-rows", self.rows), ("--max-tokens", self.tokens), ("--minutes", self.minutes)):
            if value is not None and value <= 0:
                raise UsageError(f"{name} {value}: a budget is more than nothing")
