"""Removing releases that nobody can be rolled back to, and the collections that only they named."""

from collections.abc import Collection

from core.progress import say
from core.settings import Workspace
from llmcf.serving import copies, manifest, releases

KINDS = ("cot", "items")


def prune(dataset: str, keep: int = releases.KEEP) -> list[int]:
    """Remove all but `keep` releases of a data set, what only they read in Milvus, and its copies; repeat it if killed.

    For whoever is `releases.making`. The lock of pointers is held only until those that go are set aside. Then their
    collections go, then their folders: as long as one is there, the next run knows what it named. Nothing in Milvus
    goes while a release stays that does not say what it reads.
    """
    with releases.locked():
        releases.set_aside(dataset, keep)
    staying = releases.claims(dataset)
    if silent := [claim.number for claim in staying if claim.workspace is None]:
        place = manifest.folder(dataset, silent[0])
        say(f"{place} does not say what it reads in Milvus, so nothing is dropped; remove it if nothing serves it")
    else:
        named = {name for claim in staying for name in claim.collections}
        for ws in {claim.workspace for claim in [*staying, *releases.leaving(dataset)] if claim.workspace}:
            drop_unnamed(ws, named)
        copies.prune(copies.folder(dataset), named)
    return releases.finish(dataset)


def drop_unnamed(ws: Workspace, named: Collection[str]) -> list[str]:
    """Drop the versions of a workspace's collections that are not among `named` and not live; returns them."""
    from ict import milvus

    if not milvus.exists(ws):
        return []
    with milvus.connect(ws) as client:
        return [name for kind in KINDS for name in milvus.drop_versions(client, ws, kind, keep=named)]
