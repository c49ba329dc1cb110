"""Collections go with the last release that names them, and not before it is known what the others name."""

from collections.abc import Callable, Collection
from pathlib import Path

import numpy as np
import pytest

from core.settings import Workspace
from llmcf.serving import copies, held, manifest, pruning, releases
from llmcf.serving.manifest import Release
from tests.synthetic_release import write_release

WS = Workspace("movielens-100k", "shuffled-ties")
OTHER = Workspace("movielens-100k", "published", "2026-01-31")


@pytest.fixture
def kept(monkeypatch: pytest.MonkeyPatch) -> dict[Workspace, set[str]]:
    """The collections that pruning would leave, by the workspace whose others it would drop."""
    told: dict[Workspace, set[str]] = {}

    def note(ws: Workspace, named: Collection[str]) -> list[str]:
        told[ws] = set(named)
        return []

    monkeypatch.setattr(pruning, "drop_unnamed", note)
    return told


def test_what_a_release_of_another_contract_names_stays_as_long_as_it_does(
    repository: Path, kept: dict[Workspace, set[str]], spoil: Callable[[Release], None]
) -> None:
    old = write_release(OTHER, collections={"items": "old_v1"})
    write_release(WS, collections={"items": "new_v1"})
    spoil(old)
    assert pruning.prune(WS.dataset, keep=2) == []
    assert all(names == {"old_v1", "new_v1"} for names in kept.values()), "or nothing is dropped, if it does not say"
    kept.clear()
    place = copies.folder(WS.dataset)
    for name in ("old_v1", "new_v1"):
        copies.keep(place, name, {"id": np.arange(3)}, held.fit(old))
    assert pruning.prune(WS.dataset, keep=1) == [1]
    assert all(names == {"new_v1"} for names in kept.values())
    assert [path.stem for path in place.iterdir()] == ["new_v1"]
    assert WS in kept


def test_the_manifest_outlives_the_collections(
    repository: Path, kept: dict[Workspace, set[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed between the two, the next run still knows the workspace whose last release goes."""
    write_release(OTHER, collections={"items": "old_v1"})
    write_release(WS)

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(pruning, "drop_unnamed", killed)
        pruning.prune(WS.dataset, keep=1)
    assert releases.numbers(WS.dataset) == [2], "nobody can choose it any more"
    assert write_release(WS, live=False).number == 3, "who makes a release leaves it alone"
    assert pruning.prune(WS.dataset, keep=2) == [1]
    assert kept[OTHER] == set()


def test_nobody_waits_for_collections_to_be_dropped(
    repository: Path, kept: dict[Workspace, set[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What goes is out of reach by then, and what stays can be chosen."""
    for _ in range(3):
        write_release(WS)

    def drop(*_: object) -> None:
        with releases.locked(0.0):
            assert releases.rollback(WS.dataset).number == 2

    monkeypatch.setattr(pruning, "drop_unnamed", drop)
    assert pruning.prune(WS.dataset, keep=2) == [1]
    assert releases.numbers(WS.dataset) == [2, 3]
    assert not list(manifest.root(WS.dataset).glob(".*"))
