"""What `llmcf serve` refuses before it starts anything."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from core.errors import UsageError
from llmcf.service import rules, state
from llmcf.service.supervisor import _alone, serve

RELEASE = cast(Any, SimpleNamespace(dataset="shop"))


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LLMCF_HOME", str(tmp_path))


def test_rules_with_a_fault_start_no_service() -> None:
    rules.path("shop").parent.mkdir(parents=True)
    rules.path("shop").write_text("[scenes.home]\nbost = 1\n")
    with pytest.raises(UsageError, match=r"rules\.toml holds rules that cannot be: scenes\.home\.bost"):
        serve(RELEASE)


def test_rules_that_name_no_file_start_no_service() -> None:
    rules.path("shop").parent.mkdir(parents=True)
    rules.path("shop").write_text('[scenes.home]\navailable = "stock.txt"\n')
    with pytest.raises(UsageError, match=r"stock\.txt, which a rule names, cannot be read"):
        serve(RELEASE)


@pytest.mark.parametrize(
    ("asked", "told"), [({"address": "0.0.0.0"}, "there are no keys"), ({"workers": 0}, "--workers 0")]
)
def test_what_cannot_be_served_is_told(asked: dict[str, Any], told: str) -> None:
    with pytest.raises(UsageError, match=told):
        serve(RELEASE, **asked)


def test_workers_wait_for_what_this_service_serves_and_not_one_that_was_killed() -> None:
    place = state.folder("shop")
    (place / "workers").mkdir(parents=True)
    state.serving_file(place).write_text("{}")
    with _alone("shop") as opened:
        assert opened == place
        assert state.read(place) is None
        assert state.workers(place) == {}
