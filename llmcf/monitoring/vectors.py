"""Text vectors of items and chains of thought: how far their centre has moved, and their length."""

from collections.abc import Mapping

from core import drift
from core.drift import Cloud
from llmcf.monitoring.figures import Part
from llmcf.monitoring.profile import CLOUDS, Profile

NAME = "vectors"


def compare(encoder: str, clouds: Mapping[str, Cloud], reference: Profile | None) -> Part:
    """The part of the vectors. Those of different encoders are not compared."""
    part = Part(name=NAME, drawn={"cosines": {}})
    part.missing += [f"vectors of {name}: there are none" for name in CLOUDS if name not in clouds]
    same = reference is not None and reference.encoder == encoder
    if reference and reference.encoder and clouds and not same:
        part.missing.append("drift of vectors: the reference's are another encoder's")
    for name, cloud in clouds.items():
        before = reference.clouds.get(name) if same and reference else None
        if same and before is None:
            part.missing.append(f"drift of vectors of {name}: the reference has none")
        part.add("vectors", cloud.count, of=name, before=before and before.count)
        part.add("norm", cloud.norm, of=name, before=before and before.norm)
        part.add("likeness", cloud.likeness, of=name, before=before and before.likeness)
        if before:
            chance = drift.shift_by_chance(before, cloud)
            part.add("centre_shift", drift.centre_shift(before, cloud), of=name, chance=chance)
        part.drawn["cosines"][name] = (before and list(before.cosines), list(cloud.cosines))
    return part
