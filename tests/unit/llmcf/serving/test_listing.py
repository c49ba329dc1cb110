"""What is told of releases, and choosing among them while others do the same."""

from collections.abc import Callable
from pathlib import Path

from core.settings import Workspace
from llmcf.serving import listing
from llmcf.serving.manifest import Release
from tests.synthetic_release import write_release

WS = Workspace("movielens-100k", "shuffled-ties")


def test_a_list_marks_what_cannot_be_read(repository: Path, spoil: Callable[[Release], None]) -> None:
    for _ in range(2):
        write_release(WS)
    spoil(write_release(WS))
    told = listing.listing(WS.dataset).details
    assert (told["releases"], told["live"]) == (["1", "2", "3"], 3)
    marked = [line for line in str(told["text"]).splitlines() if "unreadable" in line]
    assert len(marked) == 1
    assert "live, unreadable: " in marked[0]
