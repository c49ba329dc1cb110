"""What is asked of an export before it does anything, and when what it made does not go live."""

from dataclasses import replace
from pathlib import Path

import pytest

from core.errors import UsageError
from core.settings import Workspace
from llmcf.serving import assemble, forward, loading, releases
from llmcf.serving.assemble import Choice, Plan
from llmcf.serving.export import export, released
from llmcf.serving.manifest import Release
from tests.synthetic_release import write_release

WS = Workspace("movielens-100k", "shuffled-ties")
RANKER = Choice(backbone="deepfm", framework="llm-cf", recipe="strict", seed=1)
TOWER = replace(RANKER, backbone="sasrec")


@pytest.mark.parametrize(
    ("ranker", "tower", "words"),
    [
        ({"backbone": "foo"}, {}, r"unknown ranker 'foo'; choose one of: deepfm, "),
        ({"framework": "foo"}, {}, r"unknown framework 'foo'; choose one of: none, kd, "),
        ({"recipe": "foo"}, {}, r"unknown recipe 'foo'; choose one of: "),
        ({}, {"backbone": "deepfm"}, r"unknown retriever 'deepfm'; choose one of: sasrec"),
        ({}, {"framework": "kar"}, r"unknown framework of the user tower 'kar'; choose one of: none, llm-cf"),
        ({}, {"recipe": "foo"}, r"unknown recipe 'foo'; choose one of: "),
    ],
)
def test_a_name_that_no_training_knows_is_refused_with_the_choices(ranker: dict, tower: dict, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        export(WS, replace(RANKER, **ranker), replace(TOWER, **tower))


@pytest.mark.usefixtures("repository")
def test_what_milvus_holds_of_a_release_is_kept_for_the_service(monkeypatch: pytest.MonkeyPatch) -> None:
    made, kept = write_release(WS), list[Release]()
    monkeypatch.setattr(assemble, "current", lambda _: made)
    monkeypatch.setattr(loading, "keep", kept.append)
    plan = Plan(ws=WS, source=made.source, choices={}, write={}, collections={})
    released("export", plan, 0.0, promote=False)
    assert kept == [made]


@pytest.mark.parametrize(
    ("first", "second", "live"),
    [
        (("published", "2026-01-31"), ("published", "2026-01-30"), 1),
        (("published", "2026-01-31"), ("published", "2026-01-31"), 2),
        (("published", "2026-01-31"), ("published", "2026-02-01"), 2),
        (("published", "2026-01-31"), ("shuffled-ties", "2026-01-30"), 2),
        (("published", "2026-01-31"), ("published", "latest"), 2),
        (("published", "latest"), ("published", "2026-01-30"), 2),
    ],
)
def test_an_earlier_day_does_not_replace_a_later_one(
    repository: Path,
    capsys: pytest.CaptureFixture[str],
    first: tuple[str, str],
    second: tuple[str, str],
    live: int,
) -> None:
    """A day that is made up for. Another order is other data, and `latest` is no day."""
    for place in (first, second):
        forward.promote(write_release(Workspace(WS.dataset, *place), live=False))
    assert releases.require(WS.dataset).number == live
    told = "release 2 is of 2026-01-30, and the live release 1 of 2026-01-31, which stays live"
    assert (told in capsys.readouterr().err) == (live == 1)


def test_people_may_go_back_to_an_earlier_day(repository: Path) -> None:
    earlier = write_release(replace(WS, as_of="2026-01-30"))
    later = write_release(replace(WS, as_of="2026-01-31"))
    assert releases.rollback(WS.dataset) == earlier
    releases.promote(later)
    releases.promote(earlier)
    assert releases.live(WS.dataset) == earlier
