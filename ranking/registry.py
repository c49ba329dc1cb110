"""From names to modules. A registry is a dict."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import nn

from core.contracts import DENSE
from ict.module import IctConfig
from ranking.frameworks.kar import KINDS, Adaptor
from ranking.frameworks.llm_cf import LlmCf
from ranking.layers import FIELDS, Sizes, SparseFields, Standardise, Widths
from ranking.matching import Matching
from ranking.models.autoint import AutoInt
from ranking.models.dcn import DCN
from ranking.models.dcnv2 import DCNV2
from ranking.models.deepfm import DeepFM
from ranking.models.din import DIN
from ranking.models.xdeepfm import XDeepFM
from ranking.ranker import Ranker
from ranking.recipes import MODELS, RankerConfig
from ranking.text_match import TEXT_MATCH

BACKBONES: dict[str, Callable[[Widths, Any], nn.Module]] = {
    "deepfm": DeepFM,
    "xdeepfm": XDeepFM,
    "autoint": AutoInt,
    "dcn": DCN,
    "dcnv2": DCNV2,
    "din": DIN,
}
ATTENDING = frozenset({"din"})  # read the history item by item
assert tuple(BACKBONES) == MODELS


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """The sizes that come from the data: rows of the tables, width of the text vectors (0 where none are read)."""

    tables: Sizes
    text_width: int = 0


def attends(config: RankerConfig) -> bool:
    """Whether the model reads the items of a history one by one."""
    return config.model in ATTENDING or config.softmax > 0


def dense_features(config: RankerConfig) -> tuple[str, ...]:
    """The names of the dense features that the model reads, in their order."""
    return (DENSE if config.dense else ()) + (TEXT_MATCH if config.text_match else ())


def build(config: RankerConfig, shape: Shape) -> Ranker:
    """A fresh model for a configuration; draws its weights from torch's default generator."""
    vectors = (1 if config.uses_examples else 0) + (len(KINDS) if config.uses_knowledge else 0)
    read = len(dense_features(config))
    dense = read + (1 if config.softmax else 0)
    widths = Widths(fields=len(FIELDS), width=config.width, vectors=vectors, dense=dense)
    return Ranker(
        SparseFields(shape.tables, config.width),
        BACKBONES[config.model](widths, config.backbone),
        Standardise(read) if read else None,
        llm_cf=LlmCf(_ict(config, shape), config.width) if config.uses_examples else None,
        kar=Adaptor(shape.text_width, config.width) if config.uses_knowledge else None,
        distil=config.distil if config.uses_teacher else 0.0,
        matching=Matching(config.width) if config.softmax else None,
        softmax=config.softmax,
    )


def _ict(config: RankerConfig, shape: Shape) -> IctConfig:
    how = config.in_context
    names = ("layers", "heads", "alpha", "use_text", "use_cot", "use_similarity", "pooling", "gate", "precision")
    return IctConfig(width=config.width, text_width=shape.text_width, **{name: getattr(how, name) for name in names})
