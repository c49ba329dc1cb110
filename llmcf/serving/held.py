"""Whether Milvus holds what a release names, as the release was made with it: else the release cannot be served."""

from typing import TYPE_CHECKING

from core.errors import Missing
from llmcf.serving.manifest import Release

if TYPE_CHECKING:
    from pymilvus import MilvusClient


class Unfit(Missing):
    """A collection is there that does not go with the release: nothing may be served out of it, without it neither."""


def check(release: Release) -> None:
    """Look into Milvus; raises Missing as `require` does."""
    from ict import milvus

    if release.collections:
        with milvus.connect(release.workspace) as client:
            require(client, release)


def require(client: "MilvusClient", release: Release, *kinds: str) -> None:
    """Look for the collections that the release names, and whether they go with it.

    Args:
        kinds: those that matter, all if none is named.

    Raises:
        Missing: if one is gone, with the command that makes the like of it; Unfit if one is of another encoder than the
            release, or items are of another width than its user vectors.
    """
    from ict import milvus

    named = {kind: name for kind, name in release.collections.items() if not kinds or kind in kinds}
    if gone := sorted(set(named.values()) - milvus.names(client)):
        what = f"Milvus does not hold {', '.join(gone)} any more, which release {release.number} of {release.dataset}"
        raise Missing(f"{what} reads", release.remedy)
    for name in named.values():
        _check_encoder(client, release, name)
    if "items" in named:
        _check_width(client, release, named["items"])


def fit(release: Release) -> str:
    """What a collection must go with to be read for the release: its encoder, and the width of its user vectors."""
    (vector,) = release.stages["user_vector"].outputs
    return f"{release.encoder} {vector.shape}"


def _check_encoder(client: "MilvusClient", release: Release, name: str) -> None:
    from ict import milvus

    theirs = milvus.account_of(client, name).get("encoder", "")
    if _another(theirs, release.encoder):
        what = f"{name} is by the encoder {theirs}, and release {release.number} of {release.dataset}, which reads it,"
        raise Unfit(f"{what} by {release.encoder}", release.remedy)


def _check_width(client: "MilvusClient", release: Release, name: str) -> None:
    from ict import milvus

    (vector,) = release.stages["user_vector"].outputs
    width = milvus.widths_of(client, name).get("vector", 0)
    if vector.shape != (width,):
        what = f"{name} holds vectors of {width} numbers, and release {release.number} of {release.dataset}, which"
        raise Unfit(f"{what} reads it, searches with {vector.shape[0]}", release.remedy)


def _another(theirs: str, ours: str) -> bool:
    """Whether an account, by a model's digest or its name, names another encoder than a release, by `name@digest`.

    What either does not know is no other.
    """
    name, _, digest = ours.rpartition("@")
    return bool(theirs and name) and theirs != name and not (digest and theirs.startswith(digest))
