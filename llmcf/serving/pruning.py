"""Removing releases that nobody can be rolled back to, and the collections that only they named."""

from collections.abc import Collection

from core.progress import say
from core.settings import Workspace
from llmcf.serving import manifest, releases

KINDS = ("cot", "items")


def prune(dataset: str, keep: int = releases.KEEP) -> list[int]:
    """Remove all but `keep` releases of a data set and what only they read in Milvus; repeat it if it was killed.

    The collections go first: as long as a release is there, the next run knows what it named. Nothing in Milvus goes
    while a release stays that does not say what it reads.
    """
    stay, found = releases.kept(dataset, keep), releases.claims(dataset)
    staying = [claim for claim in found if claim.number in stay]
    if silent := [claim.number for claim in staying if claim.workspace is None]:
        place = manifest.folder(dataset, silent[0])
        say(f"{place} does not say what it reads in Milvus, so nothing is dropped; remove it if nothing serves it")
    else:
        named = {name for claim in staying for name in claim.collections}
        for ws in {claim.workspace for claim in found if claim.workspace}:
            drop_unnamed(ws, named)
    return releases.prune(dataset, keep)


def drop_unnamed(ws: Workspace, named: Collection[str]) -> list[str]:
    """Drop the versions of a workspace's collections that are not among `named` and not live; returns them."""
    from ict import milvus

    if not milvus.exists(ws):
        return []
    with milvus.connect(ws) as client:
        return [name for kind in KINDS for name in milvus.drop_versions(client, ws, kind, keep=named)]
