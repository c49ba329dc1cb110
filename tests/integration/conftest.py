"""What the integration tests of language models share."""

from pathlib import Path

import pytest

from core.errors import LlmcfError
from llm import fetch, models


@pytest.fixture(scope="session")
def language_model(home: Path) -> Path:
    """The carried language model, fetched and converted once into the real home."""
    del home  # named so that its variables are set first
    try:
        fetch.fetch()
    except LlmcfError as error:
        pytest.skip(f"the carried models cannot be fetched: {error}")
    return models.llm_path(models.LLM)
