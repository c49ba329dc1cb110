"""What a check found is kept whole, and a promotion rests on it only as long as nothing has changed."""

from dataclasses import replace
from pathlib import Path

import pytest

from core.errors import LlmcfError, UsageError
from core.settings import Workspace
from llmcf.serving import releases, thresholds, verdicts
from llmcf.serving.manifest import Release
from llmcf.serving.thresholds import Thresholds
from llmcf.serving.verdicts import FAILED, PASSED, Gate, Verdict
from tests.synthetic_release import write_release

WS = Workspace("movielens-100k", "shuffled-ties")


def checked(release: Release, *gates: Gate) -> Verdict:
    found = Verdict(
        release=release.number,
        manifest=verdicts.digest(release),
        against=verdicts.against(release),
        compared="",
        thresholds=thresholds.load(release.dataset).digest,
        checked="2026-01-31T00:00:00Z",
        rows={"rows": 2},
        gates=gates or (Gate(name="auc", state=PASSED, reason="good", value=0.8, low=0.7, high=0.9),),
    )
    verdicts.write(release, found)
    return found


def test_it_comes_back_as_it_was_written(repository: Path) -> None:
    release = write_release(WS)
    assert verdicts.read(WS.dataset, 1) is None
    assert verdicts.state(WS.dataset, 1) == "unchecked"
    gate = Gate(name="ece", state=FAILED, reason="no number", value=float("nan"), bound=0.1, higher=False)
    found = checked(release, gate)
    again = verdicts.read(WS.dataset, 1)
    assert again == replace(found, gates=(replace(gate, value=None),))
    assert not found.passed
    assert verdicts.state(WS.dataset, 1) == "failed: ece"
    (release.folder / verdicts.FILE).write_text("{", encoding="utf-8")
    assert verdicts.read(WS.dataset, 1) is None


def test_only_a_check_that_passed_lets_a_release_through(repository: Path) -> None:
    write_release(WS)
    release = write_release(WS, live=False)
    with pytest.raises(LlmcfError, match=r"not checked.*llmcf release check --dataset movielens-100k --release 2"):
        verdicts.require_passed(release)
    checked(release, Gate(name="auc", state=FAILED, reason="AUC 0.4"))
    with pytest.raises(LlmcfError, match=r"did not pass.*auc: AUC 0.4"):
        verdicts.require_passed(release)
    assert checked(release).against == 1
    verdicts.require_passed(release)


def test_a_check_is_out_of_date_when_what_is_live_the_thresholds_or_the_release_changed(repository: Path) -> None:
    for _ in range(2):
        write_release(WS)
    release = write_release(WS, live=False)
    checked(release)
    releases.rollback(WS.dataset)
    with pytest.raises(LlmcfError, match="it was compared with release 2, and 1 is live"):
        verdicts.require_passed(release)
    checked(release)
    file = thresholds.path(WS.dataset)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("[auc]\nbound = 0.9\n", encoding="utf-8")
    with pytest.raises(LlmcfError, match="the thresholds have changed"):
        verdicts.require_passed(release)
    file.write_text("required = true\n", encoding="utf-8")
    assert thresholds.load(WS.dataset).digest == Thresholds().digest
    verdicts.require_passed(release)
    replace(release, created="another").write(release.folder)
    with pytest.raises(LlmcfError, match="another than the one that was checked"):
        verdicts.require_passed(release)
    file.write_text("auc = 1\n", encoding="utf-8")
    checked_before = verdicts.read(WS.dataset, 3)
    assert checked_before is not None
    verdicts.write(release, replace(checked_before, manifest=verdicts.digest(release)))
    with pytest.raises(UsageError, match="auc"):
        verdicts.require_passed(release)


def test_the_live_release_stays_what_it_was_checked_as(repository: Path) -> None:
    write_release(WS)
    release = write_release(WS, live=False)
    checked(release)
    releases.promote(release)
    verdicts.require_passed(release)  # repeating a promotion mends a killed one
    assert verdicts.against(release) is None
