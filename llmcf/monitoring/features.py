"""Features of a day against the reference: stability index, missing and new values."""

import math
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from core import drift
from core.drift import CategoryBins
from llmcf.monitoring.figures import Part
from llmcf.monitoring.profile import Counted, Profile
from llmcf.monitoring.samples import Sample

NAME = "features"


def compare(
    found: Sequence[Sample],
    keys: Mapping[str, NDArray[np.int64]],
    reference: Profile | None,
    *,
    least: int,
) -> Part:
    """The part of the features; without a reference it has no more than what is missing.

    Args:
        keys: users and items of the day's newest interactions, one each.
        least: below so many values on either side nothing is compared.
    """
    part = Part(name=NAME, drawn={"bins": {}})
    few = []
    for sample in found:
        known = reference.features.get(sample.name) if reference else None
        if len(sample.there_R):
            _missing(part, sample, known)
        if sample.kind == "presence" or reference is None:
            continue
        if known is None or known.bins is None or min(len(sample.values_N), sum(known.counts)) < least:
            few.append(sample.name)
            continue
        _compared(part, sample, known)
    if reference:
        _keys(part, keys, reference, least)
        gone = sorted(set(reference.features) - {sample.name for sample in found})
        if few:
            part.missing.append(f"drift of {', '.join(few)}: fewer than {least} values here or in the reference")
        if gone:
            part.missing.append(f"{', '.join(gone)}: the reference has them, and this day has not")
    return part


def _missing(part: Part, sample: Sample, known: Counted | None) -> None:
    before = None if known is None or math.isnan(known.missing) else known.missing
    chance = 0.0
    if known and before is not None:
        there_before = np.arange(known.rows) >= round(before * known.rows)
        chance = drift.gap_by_chance(there_before, sample.there_R)
    part.add("missing", sample.missing, of=sample.name, before=before, chance=chance)


def _compared(part: Part, sample: Sample, known: Counted) -> None:
    bins = known.bins
    assert bins is not None
    if isinstance(bins, CategoryBins):
        part.add("new", bins.strange(sample.values_N), of=sample.name, before=0.0)
    counts = bins.count(sample.values_N)
    if not counts.sum():  # nothing of it is known to the reference
        return
    chance = drift.psi_by_chance(np.array(known.counts), counts)
    part.add("psi", drift.psi(np.array(known.counts), counts), of=sample.name, chance=chance)
    part.drawn["bins"][sample.name] = (bins.names(), list(known.counts), counts.tolist())


def _keys(part: Part, keys: Mapping[str, NDArray[np.int64]], reference: Profile, least: int) -> None:
    for name, key_N in keys.items():
        if len(key_N) >= least:
            part.add("new_keys", 1 - float(np.isin(key_N, reference.keys[name]).mean()), of=name, before=0.0)
        else:
            part.missing.append(f"new {name}s: {len(key_N)} interactions in the newest days are fewer than {least}")
