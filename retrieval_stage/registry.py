"""The backbones by name. An entry is all that a backbone needs beside its module and its configuration's class.

Light: a module is imported when it is built.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from retrieval_stage.configs import Gru4RecConfig, SasRecConfig, SrGnnConfig, YoutubeDnnConfig

if TYPE_CHECKING:
    from retrieval_stage.models.backbone import Backbone

C = TypeVar("C")


@dataclass(frozen=True, slots=True, kw_only=True)
class RetrievalBackbone(Generic[C]):
    """A backbone.

    Args:
        config: its hyper-parameters.
        module: makes it for a width and the longest history; an nn.Module that keeps `models.backbone.Backbone`.
        row_us: microseconds a row and epoch beside the softmax, measured on 2 shared x86 cores: SASRec's alone, the
            others' by how they compare with it on Amazon Beauty, so roughly.
        display: its name in reports.
    """

    config: type[C]
    module: "Callable[[int, int, C], Backbone]"
    row_us: float
    display: str


def _sasrec(width: int, length: int, config: SasRecConfig) -> "Backbone":
    from retrieval_stage.models.sasrec import SASRec

    return SASRec(width, length, config)


def _youtubednn(width: int, length: int, config: YoutubeDnnConfig) -> "Backbone":
    from retrieval_stage.models.youtubednn import YoutubeDNN

    return YoutubeDNN(width, length, config)


def _gru4rec(width: int, length: int, config: Gru4RecConfig) -> "Backbone":
    from retrieval_stage.models.gru4rec import GRU4Rec

    return GRU4Rec(width, length, config)


def _srgnn(width: int, length: int, config: SrGnnConfig) -> "Backbone":
    from retrieval_stage.models.srgnn import SRGNN

    return SRGNN(width, length, config)


BACKBONES: dict[str, RetrievalBackbone[Any]] = {
    "sasrec": RetrievalBackbone(config=SasRecConfig, module=_sasrec, row_us=12.0, display="SASRec"),
    "youtubednn": RetrievalBackbone(config=YoutubeDnnConfig, module=_youtubednn, row_us=6.0, display="YoutubeDNN"),
    "gru4rec": RetrievalBackbone(config=Gru4RecConfig, module=_gru4rec, row_us=14.0, display="GRU4Rec"),
    "srgnn": RetrievalBackbone(config=SrGnnConfig, module=_srgnn, row_us=28.0, display="SRGNN"),
}
MODELS = tuple(BACKBONES)
