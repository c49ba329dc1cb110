"""Removing releases that nobody can be rolled back to, and the collections that only they named."""

from core.settings import Workspace
from llmcf.serving import releases
from llmcf.serving.manifest import Release

KINDS = ("cot", "items")


def prune(dataset: str, keep: int = releases.KEEP) -> list[Release]:
    """Remove all but `keep` releases of a data set, then what only they read in Milvus; repeat it if it was killed."""
    gone = releases.prune(dataset, keep)
    for ws in {release.workspace for release in (*gone, *releases.of(dataset))}:
        drop_unnamed(ws)
    return gone


def drop_unnamed(ws: Workspace) -> list[str]:
    """Drop the versions of a workspace's collections that no release names and that are not live; returns them."""
    from ict import milvus

    if not milvus.exists(ws):
        return []
    named = releases.collections(ws)
    with milvus.connect(ws) as client:
        return [name for kind in KINDS for name in milvus.drop_versions(client, ws, kind, keep=named)]
