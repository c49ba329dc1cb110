"""The backbones by name. An entry is all that a backbone needs beside its module and its configuration's class.

Light: a module is imported when it is built.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from ranking.configs import (
    AutoIntConfig,
    BackboneConfig,
    DcnConfig,
    DcnV2Config,
    DeepFmConfig,
    DinConfig,
    RankerConfig,
    XDeepFmConfig,
)

if TYPE_CHECKING:
    from torch import nn

    from ranking.layers import Widths

C = TypeVar("C", bound=BackboneConfig)


@dataclass(frozen=True, slots=True, kw_only=True)
class RankingBackbone(Generic[C]):
    """A backbone.

    Args:
        config: its hyper-parameters.
        module: makes it for given widths; it scores `layers.Inputs`.
        attends: it reads the items of a history one by one.
        row_us: microseconds a row and epoch, measured on one of 2 shared x86 cores in float32.
        names: in the paper's Table 3, which is the one shown, and in its Table 5.
        tuned: a run's hyper-parameters that differ for it, whatever the framework.
    """

    config: type[C]
    module: "Callable[[Widths, C], nn.Module]"
    row_us: float
    names: tuple[str, str]
    attends: bool = False
    tuned: Callable[[RankerConfig], RankerConfig] = lambda config: config


def _deepfm(widths: "Widths", config: DeepFmConfig) -> "nn.Module":
    from ranking.models.deepfm import DeepFM

    return DeepFM(widths, config)


def _xdeepfm(widths: "Widths", config: XDeepFmConfig) -> "nn.Module":
    from ranking.models.xdeepfm import XDeepFM

    return XDeepFM(widths, config)


def _autoint(widths: "Widths", config: AutoIntConfig) -> "nn.Module":
    from ranking.models.autoint import AutoInt

    return AutoInt(widths, config)


def _dcn(widths: "Widths", config: DcnConfig) -> "nn.Module":
    from ranking.models.dcn import DCN

    return DCN(widths, config)


def _dcnv2(widths: "Widths", config: DcnV2Config) -> "nn.Module":
    from ranking.models.dcnv2 import DCNV2

    return DCNV2(widths, config)


def _din(widths: "Widths", config: DinConfig) -> "nn.Module":
    from ranking.models.din import DIN

    return DIN(widths, config)


# With a weight decay of 1e-4, xDeepFM's products of four fields overfit within three epochs, and DIN's attention ended
# far apart by seed; for DeepFM, DCN and DCNv2 2e-4 is too much. DIN's validation AUC then rises for long, with dips.
def _decayed(config: RankerConfig) -> RankerConfig:
    return replace(config, weight_decay=3e-4)


def _decayed_and_patient(config: RankerConfig) -> RankerConfig:
    return replace(config, weight_decay=2e-4, patience=4)


BACKBONES: dict[str, RankingBackbone[Any]] = {
    "deepfm": RankingBackbone(config=DeepFmConfig, module=_deepfm, row_us=14.0, names=("DeepFM", "DeepFM")),
    "xdeepfm": RankingBackbone(
        config=XDeepFmConfig, module=_xdeepfm, row_us=450.0, names=("xDeepFM", "xDeepFM"), tuned=_decayed
    ),
    "autoint": RankingBackbone(config=AutoIntConfig, module=_autoint, row_us=32.0, names=("AutoInt", "AutoInt")),
    "dcn": RankingBackbone(config=DcnConfig, module=_dcn, row_us=15.0, names=("DCNv1", "DcNv1")),
    "dcnv2": RankingBackbone(config=DcnV2Config, module=_dcnv2, row_us=18.0, names=("DCNv2", "DcNv2")),
    "din": RankingBackbone(
        config=DinConfig, module=_din, row_us=65.0, names=("DIN", "DIN"), attends=True, tuned=_decayed_and_patient
    ),
}
MODELS = tuple(BACKBONES)
