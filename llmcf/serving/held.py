"""Whether Milvus holds what a release names: without it the release cannot be served."""

from typing import TYPE_CHECKING

from core.errors import Missing
from llmcf.serving.manifest import Release

if TYPE_CHECKING:
    from pymilvus import MilvusClient


def check(release: Release) -> None:
    """Look into Milvus; raises Missing as `require` does."""
    from ict import milvus

    if release.collections:
        with milvus.connect(release.workspace) as client:
            require(client, release)


def require(client: "MilvusClient", release: Release, *kinds: str) -> None:
    """Raises Missing if a collection that the release names is gone, with the command that makes the like of it.

    Args:
        kinds: those that matter, all if none is named.
    """
    from ict import milvus

    named = {name for kind, name in release.collections.items() if not kinds or kind in kinds}
    if gone := sorted(named - milvus.names(client)):
        what = f"Milvus does not hold {', '.join(gone)} any more, which release {release.number} of {release.dataset}"
        raise Missing(f"{what} reads", release.remedy)
