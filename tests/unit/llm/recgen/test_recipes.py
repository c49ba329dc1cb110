"""A run that cannot be is refused before it starts."""

from typing import Any

import pytest

from core.errors import UsageError
from llm.recgen.recipes import TuningConfig


@pytest.mark.parametrize(
    "wrong", [{"method": "x"}, {"batch": 0}, {"zero_stage": 4}, {"max_tokens": 8}, {"processes": 0}]
)
def test_a_wrong_configuration_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        TuningConfig(**{"method": "full", "seed": 1, **wrong})
