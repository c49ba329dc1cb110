"""The command line asks for a configuration as the dataclass has it: the same fields, the same defaults."""

import inspect
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import pytest

from llm.cot.recipes import GenerateConfig
from llm.defaults import SEED
from llm.kar.recipes import KarConfig
from llm.recgen.recipes import TuningConfig
from llmcf.verbs import language, options, texts

NOT_ASKED = {"sampling", "warmup", "checkpoint_steps"}
CALLED = {"order": "mix_order"}


@pytest.mark.parametrize(
    ("verb", "config"),
    [
        (language.recgen_train, TuningConfig()),
        (texts.cot_generate, GenerateConfig()),
        (texts.kar_generate, KarConfig()),
    ],
)
def test_defaults_are_those_of_the_dataclass(verb: Callable[..., None], config: Any) -> None:
    asked = inspect.signature(verb).parameters
    for name, value in asdict(config).items():
        called = CALLED.get(name, name) if isinstance(config, TuningConfig) else name
        if name in NOT_ASKED:
            assert called not in asked
        elif not (verb is texts.cot_generate and name == "model"):  # which depends on what is pinned
            assert asked[called].default == value, name


def test_one_seed_for_all() -> None:
    assert options.SEED == SEED
