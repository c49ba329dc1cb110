"""What strangers write does not change the structure of a prompt as the real tokenizer sees it."""

from pathlib import Path

import pytest

from llm import prompts
from llm.contexts import Context, Item
from llm.cot import wording

pytestmark = pytest.mark.integration
SOAP = Item(title="Soap", brand="", kind="Soap")


def test_hostile_titles_add_no_special_token(language_model: Path, hostile: dict[str, Context]) -> None:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(language_model)
    special = set(tokenizer.all_special_ids)

    def count(context: Context) -> int:
        asked = wording.cot_prompt(context, prompts.domain("amazon-beauty"), style="guided", state_label=False)
        ids = tokenizer(prompts.render(asked.messages, tokenizer), add_special_tokens=False)["input_ids"]
        return sum(token in special for token in ids)

    plain = Context(row=0, profile="p", history=(SOAP,), target=SOAP, label=0)
    assert {count(context) for context in hostile.values()} == {count(plain)}
