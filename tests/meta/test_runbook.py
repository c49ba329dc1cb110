"""Every alert has an entry in the runbook, and every entry is of an alert."""

import re
import runpy

import pytest

from llmcf.gates import check, model_check
from llmcf.monitoring.limits import KINDS
from tests.meta.test_layout import PROJECT

TEXT = (PROJECT / "docs" / "runbook.md").read_text(encoding="utf-8")
ENTRIES = dict(re.findall(r"^## ([\w-]+)\n(.*?)(?=^## |\Z)", TEXT, flags=re.MULTILINE | re.DOTALL))
RAISED = [*KINDS, check.ALERT, model_check.ALERT, *runpy.run_path(str(PROJECT / "dags" / "alerts.py"))["KINDS"]]
PARTS = ("What it means", "What to look at", "What to do")


def test_every_alert_has_an_entry_and_every_entry_an_alert():
    assert list(ENTRIES) == RAISED


@pytest.mark.parametrize("kind", RAISED)
def test_an_entry_says_what_it_means_what_to_look_at_and_what_to_do(kind: str):
    parts = re.findall(r"^\*\*([^*]+)\.\*\*", ENTRIES[kind], flags=re.MULTILINE)
    assert tuple(parts) == PARTS
    assert "`llmcf " in ENTRIES[kind], "a verb to run"


def test_the_page_about_monitoring_names_every_figure_of_a_rule():
    told = (PROJECT / "docs" / "monitoring.md").read_text(encoding="utf-8")
    assert not {rule.figure for rules in KINDS.values() for rule in rules if f"`{rule.figure}`" not in told}
