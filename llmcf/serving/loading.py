"""What a release names, read into memory: the item search and the examples. No torch on this way."""

from typing import TYPE_CHECKING

from core.progress import say
from llmcf.feature_store import registry
from llmcf.serving import held, manifest
from llmcf.serving.manifest import ITEM_VECTORS, Release

if TYPE_CHECKING:
    from pymilvus import MilvusClient

    from ict.replica import ServingReplica
    from retrieval_stage.candidates import CandidateSearch
    from retrieval_stage.items import ItemReplica


def tell_of_other_features(release: Release) -> None:
    """The weights know the features as feature_repo/ defined them when the release was made."""
    made_with = release.features.get("repo")
    if made_with and made_with != registry.materialized(release.workspace)["release"]["repo"]:
        say(
            f"the online store of {release.workspace.root} was filled by another feature_repo/ than release "
            f"{release.number} was made with: its features may mean something else to the weights"
        )


def collections(release: Release, *, without_examples: bool = False) -> "tuple[CandidateSearch, ServingReplica | None]":
    """The item search and the examples that the release names, through one connection.

    Args:
        without_examples: leave them out, for when Milvus has lost them.

    Raises:
        Missing: if Milvus does not hold one of them any more; Unfit if one is of another encoder or width than the
            release; both name the verb that makes the like of it.
    """
    from ict import milvus
    from retrieval_stage.items import ItemReplica

    with milvus.connect(release.workspace) as client:
        held.require(client, release, *(("items",) if without_examples else ()))
        items = ItemReplica.read(client, release.collections["items"])
        examples = _examples(client, release) if "cot" in release.collections and not without_examples else None
    return _search(release, items), examples


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


def _examples(client: "MilvusClient", release: Release) -> "ServingReplica":
    from safetensors.numpy import load_file

    from ict.replica import Selection, ServingReplica

    vectors_VE = load_file(release.folder / release.item_vectors)[ITEM_VECTORS]
    ranker, tower = (release.stages[model] for model in ("ranker", "user_vector"))
    return ServingReplica.read(
        client,
        release.collections["cot"],
        vectors_VE,
        ranking=Selection(recipe=ranker.recipe, seed=ranker.seed),
        retrieval=Selection(recipe=tower.recipe, seed=tower.seed),
    )
