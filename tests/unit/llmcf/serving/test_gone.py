"""Removed releases leave their manifests, whole; one that is there is not gone."""

from collections.abc import Callable

import pytest

from core.settings import Workspace
from llmcf.serving import gone, releases
from llmcf.serving.manifest import Release
from tests.synthetic_release import pruned, write_release

WS = Workspace("movielens-100k", "shuffled-ties", "2026-01-31")
pytestmark = pytest.mark.usefixtures("repository")


def test_a_manifest_outlives_its_release() -> None:
    first, second = write_release(WS, seed=1), write_release(WS, seed=2)
    assert gone.of(WS.dataset) == []
    assert pruned(WS.dataset, keep=1) == [first.number]
    assert gone.of(WS.dataset) == [first]
    assert releases.numbers(WS.dataset) == [second.number]
    assert releases.datasets() == [WS.dataset]
    assert releases.next_number(WS.dataset) == 3


def test_a_killed_removal_has_removed_nothing() -> None:
    first = write_release(WS, seed=1)
    gone.remember(WS.dataset, first.number)
    assert gone.of(WS.dataset) == []


def test_what_cannot_be_read_is_forgotten(spoil: Callable[[Release], None]) -> None:
    first = write_release(WS, seed=1)
    write_release(WS, seed=2)
    spoil(first)
    pruned(WS.dataset, keep=1)
    assert releases.numbers(WS.dataset) == [2]
    assert gone.of(WS.dataset) == []
