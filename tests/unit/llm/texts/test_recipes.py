"""How a text is written names its cache: what was written under a manner is found again for ever."""

from dataclasses import replace

import pytest

from core import storage
from core.errors import UsageError
from llm.cot.recipes import STYLES, GenerateConfig
from llm.kar.recipes import KarConfig
from llm.texts.cache import prompt_hash
from llm.texts.recipes import Budget

COT = GenerateConfig(engine="openvino", seed=2023).manner


def named(manner: object) -> str:
    return storage.digest(manner)[:16]


def test_names_of_caches_and_texts_are_what_they_were() -> None:
    """Golden: texts of months lie under these names."""
    assert named(COT.cache_key("abc")) == "0d9c8e27aed2f1d8"
    assert named(KarConfig(engine="openvino", seed=2023).manner.cache_key("abc")) == "0d9c8e27aed2f1d8"
    assert prompt_hash("is rain", ("wet",), 1) == "72f64b6caa2aecb201d6f6b35f3d7f3a"


def test_whatever_changes_a_text_changes_the_name() -> None:
    changes = {"engine": "vllm", "seed": 1, "part_tokens": 9, "sentence": False, "attempts": 3}
    keys = {named(replace(COT, **{name: value}).cache_key("abc")) for name, value in changes.items()}
    assert len(keys | {named(COT.cache_key("abc")), named(COT.cache_key("b"))}) == len(changes) + 2


def test_a_style_says_how_long_a_part_is_unless_it_is_said() -> None:
    for name, style in STYLES.items():
        assert GenerateConfig(style=name).manner.part_tokens == style.part_tokens
    assert GenerateConfig(style="free", part_tokens=7).manner.part_tokens == 7


@pytest.mark.parametrize(("field", "option"), [("rows", "--max-rows"), ("tokens", "--max-tokens")])
def test_a_budget_is_more_than_nothing(field: str, option: str) -> None:
    with pytest.raises(UsageError, match=f"{option} 0"):
        Budget(**{field: 0})
