"""What strangers write does not change the structure of a prompt as the real tokenizer sees it."""

from pathlib import Path

import pytest

from llm import contexts, prompts
from llm.contexts import Context
from tests.unit.llm.test_prompts import HOSTILE, cot

pytestmark = pytest.mark.integration


def test_hostile_titles_add_no_special_token(language_model: Path) -> None:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(language_model)
    special = set(tokenizer.all_special_ids)

    def count(title: str) -> int:
        item = contexts._item({"title": title, "brand": None, "categories": [title]})
        asked = cot(Context(row=0, profile="", history=(item,), target=item, label=0))
        ids = tokenizer(prompts.render(asked.messages, tokenizer), add_special_tokens=False)["input_ids"]
        return sum(token in special for token in ids)

    assert {count(title) for title in HOSTILE} == {count("Soap")}
