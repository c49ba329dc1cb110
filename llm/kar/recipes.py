"""How KAR's texts are chosen, asked for and written."""

from dataclasses import dataclass, field

from core.errors import UsageError, check_choice
from llm import engines
from llm.defaults import ENGINE, SEED
from llm.engines import Sampling
from llm.texts.recipes import ATTEMPTS, Manner

_PART_TOKENS = 28


@dataclass(frozen=True, slots=True, kw_only=True)
class KarConfig:
    """Everything the texts depend on besides the data.

    Args:
        model: as `llm.models.find_model` knows it.
        users, items: how many get a text; None for all. A larger number keeps those of a smaller.
        prefix: first interactions of a user that the text is written from; users with fewer get none.
    """

    engine: str = ENGINE
    model: str = "base"
    seed: int = SEED
    users: int | None = 1000
    items: int | None = 1000
    prefix: int = 3
    sampling: Sampling = field(default_factory=Sampling)

    def __post_init__(self) -> None:
        check_choice("engine", self.engine, engines.NAMES)
        for option, value in (("--users", self.users), ("--items", self.items), ("--prefix", self.prefix)):
            if value is not None and value < 1:
                raise UsageError(f"{option} {value} is less than 1")

    @property
    def manner(self) -> Manner:
        return Manner(
            engine=self.engine,
            seed=self.seed,
            sampling=self.sampling,
            part_tokens=_PART_TOKENS,
            sentence=True,
            attempts=ATTEMPTS,
        )
