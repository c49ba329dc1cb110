"""From names to modules. A registry is a dict."""

from collections.abc import Callable
from dataclasses import dataclass

from core.contracts import DENSE
from ict.module import IctConfig, InContext
from ranking.frameworks.llm_cf import LlmCf
from ranking.frameworks.plain import Plain
from ranking.layers import FIELDS, Sizes, SparseFields, Standardise
from ranking.models.deepfm import DeepFM
from ranking.recipes import MODELS, RankerConfig

Ranker = Plain | LlmCf


def _deepfm(config: RankerConfig, extra: int) -> DeepFM:
    return DeepFM(len(FIELDS), config.width, extra, config.backbone)


BACKBONES: dict[str, Callable[[RankerConfig, int], DeepFM]] = {"deepfm": _deepfm}
assert tuple(BACKBONES) == MODELS


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """The sizes that come from the data: rows of the tables, width of the text vectors (0 where none are read)."""

    tables: Sizes
    text_width: int = 0


def build(config: RankerConfig, shape: Shape) -> Ranker:
    """A fresh model for a configuration; draws its weights from torch's default generator."""
    fields = SparseFields(shape.tables, config.width)
    dense = Standardise(len(DENSE)) if config.dense else None
    extra = (config.width if config.in_context else 0) + (len(DENSE) if config.dense else 0)
    backbone = BACKBONES[config.model](config, extra)
    if not config.in_context:
        return Plain(fields, backbone, dense)
    ict = IctConfig(
        width=config.width,
        text_width=shape.text_width,
        alpha=config.alpha,
        use_similarity=config.use_similarity,
    )
    return LlmCf(fields, backbone, dense, InContext(ict))
