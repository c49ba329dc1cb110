"""What is kept of a reference: the bins of its features with their counts, its keys, its clouds of vectors.

It lies in `<home>/<data set>/monitoring/<order>/references/<as of>/`, so that all later days are counted in the same
bins.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file

from core import drift, steps, storage
from core.data import tables
from core.drift import Bins, CategoryBins, Cloud, NumberBins
from core.settings import Workspace
from llmcf.monitoring import places, samples
from llmcf.monitoring.samples import Sample

CODE = [
    "core/drift.py",
    "core/metrics.py",
    "core/data/features.py",
    "core/data/dated.py",
    "core/data/histories.py",
    "core/data/popularity.py",
    "core/data/cooccurrence.py",
    "llmcf/monitoring/profile.py",
    "llmcf/monitoring/places.py",
    "llmcf/monitoring/samples.py",
]
_PROFILE, _KEYS = "profile.json", "keys.safetensors"
KEYS = ("user", "item")
CLOUDS = {"items": "items", "texts": "cot"}  # what the vectors are of, and their tensor


@dataclass(frozen=True, slots=True)
class Counted:
    """One feature of the reference; `bins` is None where it has no values to make them of, or they are texts."""

    bins: Bins | None
    counts: tuple[int, ...]
    rows: int
    missing: float


@dataclass(frozen=True, slots=True)
class Profile:
    """A workspace as later days are held against it.

    Args:
        end: the first day that it does not see, from 1970-01-01.
        keys: users and items that took part in it, sorted.
        encoder: digest of what made the vectors; "" without any.
    """

    end: int
    features: dict[str, Counted]
    keys: dict[str, NDArray[np.int64]]
    encoder: str
    clouds: dict[str, Cloud]


def of_reference(ws: Workspace, *, days: int) -> Profile:
    """Of a workspace, computed where it is not kept or the workspace has changed since.

    Args:
        days: as of `limits.Limits`.

    Raises:
        Missing: if the features are not built.
    """
    inputs = [ws.path("data"), ws.path("features"), ws.path("training"), ws.cot("vectors")]
    step = steps.Step(
        folder=places.reference(ws),
        config={"days": days, "bins": drift.BINS, "most": drift.MOST_FREQUENT},
        inputs=[folder for place, folder in enumerate(inputs) if place < 2 or (folder / steps.STAMP).exists()],
        code=CODE,
    )
    done = steps.run(step, lambda folder: _write(ws, days, folder))
    return _read(done.folder)


def of_samples(ws: Workspace, *, days: int) -> tuple[int, list[Sample], dict[str, NDArray[np.int64]]]:
    """The end of a workspace, the samples of its features, and the keys of its newest interactions.

    Raises:
        Missing: if the features are not built.
    """
    end = samples.end_day(ws, tables.interactions(ws))
    found = list(samples.of_views(ws, end))
    keys = {key: np.empty(0, dtype=np.int64) for key in KEYS}
    if ws.path("training", steps.STAMP).exists():
        newest = samples.newest_rows(tables.training_rows(ws), end, days)
        found += samples.of_rows(newest)
        keys = {key: newest[key].to_numpy() for key in KEYS}
    return end, found, keys


def clouds(ws: Workspace) -> tuple[str, dict[str, Cloud]]:
    """The digest of the encoder and the clouds of vectors; "" and none where there are no vectors."""
    stamp = steps.Step(folder=ws.cot("vectors"), config=None).stamp()
    if stamp is None:
        return "", {}
    vectors = load_file(ws.cot("vectors") / "vectors.safetensors")
    there = {name: vectors[tensor] for name, tensor in CLOUDS.items() if tensor in vectors}
    return stamp["config"]["hash"], {name: Cloud.of(some) for name, some in there.items() if some.any()}


def _write(ws: Workspace, days: int, folder: Path) -> dict[str, Any]:
    end, found, _ = of_samples(ws, days=days)
    encoder, there = clouds(ws)
    told = {
        "end": end,
        "features": {one.name: _counted(one) for one in found},
        "encoder": encoder,
        "clouds": {name: {part: getattr(one, part) for part in _CLOUD} for name, one in there.items()},
    }
    storage.write_json(folder / _PROFILE, told)
    interactions = tables.interactions(ws)
    save_file({key: np.unique(interactions[key].to_numpy()) for key in KEYS}, folder / _KEYS)
    return {"features": len(found), "end": end}


_CLOUD = ("count", "norm", "centre", "cosines")


def _counted(sample: Sample) -> dict[str, Any]:
    told: dict[str, Any] = {"bins": None, "counts": [], "rows": len(sample.there_R), "missing": None}
    if len(sample.there_R):
        told["missing"] = sample.missing
    if sample.kind != "presence" and len(sample.values_N):
        bins = NumberBins.of(sample.values_N) if sample.kind == "number" else CategoryBins.of(sample.values_N)
        told |= {"bins": drift.bins_as_json(bins), "counts": bins.count(sample.values_N).tolist()}
    return told


def _read(folder: Path) -> Profile:
    told = storage.read_json(folder / _PROFILE)
    features = {
        name: Counted(
            drift.bins_from_json(one["bins"]) if one["bins"] else None,
            tuple(one["counts"]),
            one["rows"],
            float("nan") if one["missing"] is None else one["missing"],
        )
        for name, one in told["features"].items()
    }
    there = {
        name: Cloud(count=one["count"], norm=one["norm"], centre=tuple(one["centre"]), cosines=tuple(one["cosines"]))
        for name, one in told["clouds"].items()
    }
    return Profile(told["end"], features, load_file(folder / _KEYS), told["encoder"], there)
