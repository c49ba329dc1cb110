"""The error tree: one line for people, kinds for programs, and both survive the way between processes."""

import json
import pickle

import pytest

from core import errors
from core.errors import LlmcfError, Missing, Unavailable, UsageError

ERRORS = [
    LlmcfError("it broke"),
    UsageError("k 0 is not between 1 and 100"),
    Missing("no release", "llmcf export --dataset custom"),
    Unavailable("Redis does not answer"),
]


def test_a_missing_step_says_what_to_run() -> None:
    error = Missing("no release", "llmcf export")
    assert str(error) == "no release; run `llmcf export` first"
    assert error.remedy == "llmcf export"


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_errors_survive_the_way_from_a_child_process(error: LlmcfError) -> None:
    told = json.loads(json.dumps(errors.as_json(error)))
    for again in (errors.from_json(told), pickle.loads(pickle.dumps(error))):  # a pool of processes pickles
        assert type(again) is type(error)
        assert str(again) == str(error)
        assert again.exit_code == error.exit_code
        assert getattr(again, "remedy", None) == getattr(error, "remedy", None)


def test_only_a_wrong_request_exits_with_2() -> None:
    assert [type(error).exit_code for error in ERRORS] == [1, 2, 1, 1]
