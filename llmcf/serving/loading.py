"""What a release names, read into memory: the item search and the examples. No torch on this way."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from core.errors import LlmcfError
from core.progress import say
from llmcf.feature_store import registry
from llmcf.serving import copies, held, manifest
from llmcf.serving.manifest import ITEM_VECTORS, Release

if TYPE_CHECKING:
    from ict.replica import ServingReplica, Stored
    from retrieval_stage.candidates import CandidateSearch
    from retrieval_stage.items import ItemReplica

Columns = dict[str, np.ndarray]


def tell_of_other_features(release: Release) -> None:
    """The weights know the features as feature_repo/ defined them when the release was made."""
    made_with = release.features.get("repo")
    if made_with and made_with != registry.materialized(release.workspace)["release"]["repo"]:
        say(
            f"the online store of {release.workspace.root} was filled by another feature_repo/ than release "
            f"{release.number} was made with: its features may mean something else to the weights"
        )


def collections(
    release: Release, *, without_examples: bool = False, kept: Path | None = None
) -> "tuple[CandidateSearch, ServingReplica | None]":
    """The item search and the examples that the release names.

    Args:
        without_examples: leave them out, for when Milvus has lost them.
        kept: the folder of what was read before (llmcf/serving/copies.py), which is read in place of Milvus; what it
            lacks is read of Milvus and kept there.

    Raises:
        Missing: if Milvus does not hold one of them any more; Unfit if one is of another encoder or width than the
            release; both name the verb that makes the like of it.
    """
    from ict.replica import Stored
    from retrieval_stage.items import ItemReplica

    kinds = tuple(kind for kind in _kinds(release) if not (without_examples and kind == "cot"))
    read = _columns(release, kinds, kept)
    items = ItemReplica.of(release.collections["items"], read["items"])
    return _search(release, items), _examples(Stored.of(read["cot"]), release) if "cot" in read else None


def keep(release: Release) -> None:
    """Keep what Milvus holds of a new release beside the service, which then starts without asking Milvus."""
    try:
        _columns(release, _kinds(release), copies.folder(release.dataset))
    except LlmcfError as error:
        say(f"no copy of what Milvus holds is kept: {error}")


def _kinds(release: Release) -> tuple[str, ...]:
    return tuple(kind for kind in ("items", "cot") if kind in release.collections)


def _columns(release: Release, kinds: Sequence[str], kept: Path | None) -> dict[str, Columns]:
    """What Milvus holds of these kinds, by kind; of the copies that are kept where there are whole ones of all."""
    if kept is not None and (copied := _of_copies(release, kinds, kept)) is not None:
        return copied
    found = _of_milvus(release, kinds)
    if kept is not None:
        _keep(release, found, kept)
    return found


def _of_milvus(release: Release, kinds: Sequence[str]) -> dict[str, Columns]:
    """Through one connection."""
    from ict import milvus, replica
    from retrieval_stage import items

    with milvus.connect(release.workspace) as client:
        held.require(client, release, *kinds)
        found: dict[str, Columns] = {}
        for kind in kinds:
            opened = milvus.Collection.open(client, release.collections[kind], "llmcf export")
            found[kind] = items.columns(opened) if kind == "items" else opened.read(replica.COLUMNS)
    return found


def _of_copies(release: Release, kinds: Sequence[str], kept: Path) -> dict[str, Columns] | None:
    """All of them, or None."""
    found = {kind: copies.read(kept, release.collections[kind], held.fit(release)) for kind in kinds}
    whole = {kind: columns for kind, columns in found.items() if columns is not None}
    return whole if len(whole) == len(kinds) else None


def _keep(release: Release, found: dict[str, Columns], kept: Path) -> None:
    try:
        for kind, columns in found.items():
            copies.keep(kept, release.collections[kind], columns, held.fit(release))
    except (OSError, ValueError, LlmcfError) as error:  # a full disk, a type that Arrow lacks: no copy is needed now
        say(f"no copy of what Milvus holds is kept: {error}")


def _search(release: Release, items: "ItemReplica") -> "CandidateSearch":
    """The search in `items` by all that the release keeps for it."""
    from retrieval_stage import transition_graph
    from retrieval_stage.candidates import CandidateSearch
    from retrieval_stage.item_space import ItemSpace
    from retrieval_stage.text_map import TextMap
    from retrieval_stage.transition_graph import TransitionGraph

    weight = release.blend.get("graph", 0.0)
    placed = manifest.TEXT_MAP in release.evidence
    return CandidateSearch(
        items=items,
        space=ItemSpace.under(release.blend, TextMap.load(release.folder / manifest.TEXT_MAP) if placed else None),
        graph=TransitionGraph.load(release.folder / transition_graph.FILE) if weight else None,
        weight=weight,
    )


def _examples(stored: "Stored", release: Release) -> "ServingReplica":
    from safetensors.numpy import load_file

    from ict.replica import Selection, ServingReplica

    vectors_VE = load_file(release.folder / release.item_vectors)[ITEM_VECTORS]
    ranker, tower = (release.stages[model] for model in ("ranker", "user_vector"))
    return ServingReplica(
        stored,
        vectors_VE,
        ranking=Selection(recipe=ranker.recipe, seed=ranker.seed),
        retrieval=Selection(recipe=tower.recipe, seed=tower.seed),
    )
