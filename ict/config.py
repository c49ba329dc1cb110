"""The knobs of LLM-CF's in-context module, the same in both stages. Light: it imports no torch."""

from dataclasses import dataclass, fields
from typing import Any, TypeVar

from core.contracts import EXAMPLES
from core.errors import UsageError, check_choice

POOLINGS = ("decoder", "mean", "similarities")
PRECISIONS = ("float32", "bfloat16")
T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class IctConfig:
    """Which examples are shown, and how they are read; what the paper's ablations change is here.

    Args:
        examples: K; half positives, half negatives, unless `constrained` is off.
        cot_set: which set of texts; "" is the workspace's main one.
        layers, heads: of the decoder.
        hidden: width within the decoder's feed-forward part.
        text_hidden: width within the text projection and the reconstruction head.
        alpha: weight of the reconstruction loss.
        predictions: of a batch, that the reconstruction loss averages over: an unbiased sample of all.
        use_text: representations hold the texts of the item and of the history.
        use_cot: read the chains of thought, and reconstruct them; otherwise an example is its representation and label.
        use_similarity: add each example's similarity to its token.
        example_dropout: share of training rows that are shown no examples, so that w is trained for requests that find
            none, too.
        pooling: `decoder`, `mean` of the examples' tokens, or `similarities` alone; only the first reconstructs.
        gate: multiply w by a learned gate.
        precision: in which training multiplies; bfloat16 pays on processors that have it.
    """

    examples: int = EXAMPLES
    constrained: bool = True
    cot_set: str = ""
    layers: int = 2
    heads: int = 2
    hidden: int = 64
    text_hidden: int = 256
    alpha: float = 1.0
    predictions: int = 512
    use_text: bool = True
    use_cot: bool = True
    use_similarity: bool = False
    example_dropout: float = 0.0
    pooling: str = "decoder"
    gate: bool = False
    precision: str = "float32"

    def __post_init__(self) -> None:
        check_choice("pooling", self.pooling, POOLINGS)
        check_choice("precision", self.precision, PRECISIONS)
        check_share("LLM-CF", "example_dropout", self.example_dropout)


def check_counts(what: str, counts: dict[str, int | tuple[int, ...]], least: int = 1) -> None:
    """Raise a UsageError for the first number that is below `least`, or a tuple without any; `what` has them."""
    for name, value in counts.items():
        numbers = value if isinstance(value, tuple) else (value,)
        if not numbers or min(numbers) < least:
            raise UsageError(f"{name} {value} of {what} is not at least {least}")


def check_share(what: str, name: str, value: float) -> None:
    """Raise a UsageError unless 0 <= value < 1."""
    if not 0 <= value < 1:
        raise UsageError(f"{name} {value} of {what} is not in [0, 1)")


def restored(kind: type[T], stored: dict[str, Any]) -> T:
    """A dataclass out of JSON, which knows no tuples; names that it lacks are dropped."""
    names = {one.name for one in fields(kind)}  # pyright: ignore[reportArgumentType]
    known = {name: tuple(v) if isinstance(v, list) else v for name, v in stored.items() if name in names}
    return kind(**known)
