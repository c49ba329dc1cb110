"""The backbones by name. An entry is all that a backbone needs beside its module and its configuration's class.

Light: a module is imported when it is built.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from retrieval_stage.configs import SasRecConfig

if TYPE_CHECKING:
    from retrieval_stage.models.backbone import Backbone

C = TypeVar("C")


@dataclass(frozen=True, slots=True, kw_only=True)
class RetrievalBackbone(Generic[C]):
    """A backbone.

    Args:
        config: its hyper-parameters.
        module: makes it for a width and a length of histories; an nn.Module that keeps `models.backbone.Backbone`.
        row_us: microseconds a row and epoch, measured on 2 shared x86 cores.
        display: its name in reports.
    """

    config: type[C]
    module: "Callable[[int, int, C], Backbone]"
    row_us: float
    display: str


def _sasrec(width: int, length: int, config: SasRecConfig) -> "Backbone":
    from retrieval_stage.models.sasrec import SASRec

    return SASRec(width, length, config)


BACKBONES: dict[str, RetrievalBackbone[Any]] = {
    "sasrec": RetrievalBackbone(config=SasRecConfig, module=_sasrec, row_us=12.0, display="SASRec"),
}
MODELS = tuple(BACKBONES)
