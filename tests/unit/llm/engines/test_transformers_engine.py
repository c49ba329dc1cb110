"""How many sequences share a batch on a GPU."""

from types import SimpleNamespace

import pytest

from llm.engines.transformers_engine import GPU_BATCH, gpu_batch

SMALL = {"hidden_size": 576, "num_hidden_layers": 30, "num_attention_heads": 9, "num_key_value_heads": 3}
LLAMA_7B = {"hidden_size": 4096, "num_hidden_layers": 32, "num_attention_heads": 32, "num_key_value_heads": 32}
GIB = 2**30


@pytest.mark.parametrize(
    ("size", "vocabulary", "free", "batch"),
    [
        (SMALL, 49152, 130 * GIB, GPU_BATCH),
        (SMALL, 49152, 10 * GIB, 110),  # 45 MiB of keys and values, 1.5 of logits
        (LLAMA_7B, 32000, 64 * GIB, 31),  # a GiB of keys and values each
        (LLAMA_7B, 32000, GIB, 1),
    ],
)
def test_a_batch_fits_half_of_the_free_memory(size: dict[str, int], vocabulary: int, free: int, batch: int) -> None:
    assert gpu_batch(SimpleNamespace(**size, vocab_size=vocabulary), free) == batch
