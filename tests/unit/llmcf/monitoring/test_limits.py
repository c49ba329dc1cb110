"""The limits of a data set: defaults, a file that changes some, and a faulty one that is refused with its places."""

from dataclasses import fields
from pathlib import Path

import pytest

from core.errors import UsageError
from llmcf.monitoring import limits
from llmcf.monitoring.limits import KINDS, Limits, Settings


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LLMCF_HOME", str(tmp_path))
    (tmp_path / "shop").mkdir()
    return limits.path("shop")


def test_without_a_file_there_are_the_defaults(file: Path):
    assert limits.load("shop") == Settings()


def test_a_file_changes_what_it_names(file: Path):
    file.write_text('off = ["coverage"]\ntune_on = []\n[limits]\npsi = 1\ndays = 7\n')
    found = limits.load("shop")
    assert found.limits == Limits(psi=1.0, days=7)
    assert isinstance(found.limits.psi, float)
    assert found.off == {"coverage"}
    assert found.tune_on == set()


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[limits\n", "at line 1, column 8"),
        ("psi = 0.2\n", "psi: there is no such key; there are off, unwatched, tune_on and limits"),
        ("[limits]\npsy = 0.2\n", "limits.psy: unknown limit; choose of days, least_rows"),
        ('[limits]\npsi = "much"\n', "limits.psi: must be a number, not 'much'"),
        ("[limits]\npsi = true\n", "limits.psi: must be a number"),
        ("[limits]\npsi = -0.1\n", "limits.psi: must be a number from 0 on"),
        ("[limits]\npsi = nan\n", "limits.psi: must be a number from 0 on"),
        ("[limits]\ndays = 0\n", "limits.days: must be a whole number from 1 on"),
        ("[limits]\ndays = 1.5\n", "limits.days: must be a whole number from 1 on"),
        ("limits = 3\n", "limits: must be a table"),
        ("off = 'coverage'\n", "off: must be a list"),
        ("off = [['coverage']]\n", "off[0]: unknown"),
        ("tune_on = ['drift']\n", "tune_on[0]: unknown 'drift'; choose of feature-drift"),
        ("off = ['coverage', 'drift']\n", "off[1]: unknown 'drift'; choose of feature-drift"),
    ],
)
def test_a_faulty_file_is_refused_with_the_place(file: Path, text: str, told: str):
    file.write_text(text)
    with pytest.raises(UsageError) as refused:
        limits.load("shop")
    assert str(file) in str(refused.value)
    assert told in str(refused.value)


def test_every_fault_is_told(file: Path):
    file.write_text("off = ['x']\n[limits]\npsi = -1\necee = 1\n")
    with pytest.raises(UsageError, match=r"off\[0\].*limits\.psi.*limits\.ecee"):
        limits.load("shop")


def test_bytes_that_are_no_text(file: Path):
    file.write_bytes(b"off = ['\xff']")
    with pytest.raises(UsageError, match="not UTF-8 at byte 8"):
        limits.load("shop")


def test_rules_name_limits_and_every_limit_is_used():
    named = {rule.limit for rules in KINDS.values() for rule in rules}
    assert named | {"days", "least_rows", "least_shown"} == {one.name for one in fields(Limits)}
