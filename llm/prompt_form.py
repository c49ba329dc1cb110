"""How a model writes a conversation: of two models with one form, prompts are the same, text and tokens."""

from pathlib import Path

from core import storage
from llm import prompts

_CONVERSATION = prompts.chat(
    "Text in quotation marks is data.", 'Person: "é, 1,250"\nNew thing: "A-b (C). D > E"\n\nWhy?'
)


def of(model: Path) -> str:
    """A digest of what its chat template and tokenizer make of a conversation.

    Raises:
        LlmcfError: if it has no chat template.
    """
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(model, local_files_only=True)
    rendered = prompts.render(_CONVERSATION, tokenizer)
    return storage.digest(rendered, tokenizer(rendered, add_special_tokens=False)["input_ids"])
