"""The ways to tune the language model that Figure 4 compares (METHOD 4), as typed recipes over one trainer."""

from dataclasses import dataclass

from core.errors import UsageError, unknown

WISE = "wise-ft-"


@dataclass(frozen=True, slots=True, kw_only=True)
class Method:
    """What a method does differently from full-parameter tuning on all recommendation rows.

    Args:
        share: of the recommendation rows.
        general: whether general instructions are mixed in.
        lora_rank: rank of low-rank updates of the query and value projections (arXiv:2106.09685); 0 tunes everything.
        noise: NEFTune's alpha (arXiv:2310.05914): uniform noise of alpha / sqrt(tokens * width) on input embeddings.
        consistency: R3F's lambda (arXiv:2008.03156): weight of the symmetric KL divergence between the answers to clean
            and to noised inputs.
        alpha: WiSE-FT (arXiv:2109.01903): no training; weights are alpha * `full` + (1 - alpha) * the base model.
    """

    share: float = 1.0
    general: bool = False
    lora_rank: int = 0
    noise: float = 0.0
    consistency: float = 0.0
    alpha: float | None = None

    @property
    def trains(self) -> bool:
        return self.share > 0 and self.alpha is None


METHODS = {
    "base": Method(share=0),
    "half": Method(share=0.5),
    "full": Method(),
    "lora": Method(lora_rank=8),
    "neft": Method(noise=5.0),
    "r3f": Method(consistency=1.0),
    **{f"{WISE}{alpha}": Method(alpha=alpha) for alpha in (0.3, 0.6, 0.9)},
    "recgen": Method(general=True),
    "rec-half-gen": Method(share=0.5, general=True),
}


def method(name: str) -> Method:
    """A method by its name; `wise-ft-<alpha>` takes any alpha between 0 and 1.

    Raises:
        UsageError: for any other name, with the choices.
    """
    if name in METHODS:
        return METHODS[name]
    if not name.startswith(WISE):
        raise unknown("method", name, METHODS)
    try:
        alpha = float(name.removeprefix(WISE))
    except ValueError:
        alpha = -1.0
    if not 0 <= alpha <= 1:
        raise UsageError(f"method {name!r}: what follows {WISE!r} is not a number between 0 and 1")
    return Method(alpha=alpha)
