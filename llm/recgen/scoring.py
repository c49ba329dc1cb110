"""How likely a model finds each of a few next tokens: P(Yes) of a recommendation, the letters of a multiple choice.

The slow way pads whole prompts and computes the logits of every token over the whole vocabulary. Here what all prompts
share is read once, what a pair of prompts shares once a pair, and the head is computed for the last token of each
prompt and the tokens that are asked about. A test holds both ways equal.

Suffixes: B samples, T tokens, P tokens of the common start, N prompts, C choices, D width.
"""

import os.path
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from core import memory, processor
from core.errors import UsageError
from core.progress import track

Floats = NDArray[np.float64]
Sample = tuple[str, list[tuple[int, str]]]  # what its prompts share after the common start; place and rest of each
_TOKENS = 3072  # of a batch
YES_NO = ("Yes", "No")


@dataclass(frozen=True, slots=True)
class _Encoded:
    places: list[int]
    ids: list[int]
    positions: list[int]
    branch: list[int]
    last: list[int]  # where each prompt ends


class Scorer:
    """The reference: transformers in this process, float32 on a CPU and bfloat16 on a GPU."""

    def __init__(self, model: Path) -> None:
        import torch
        from transformers import AutoModelForCausalLM, AutoTokenizer

        memory.keep_freed()
        processor.flush_denormals(torch.set_flush_denormal)
        self.tokenizer = AutoTokenizer.from_pretrained(model, local_files_only=True)
        device = "cuda" if torch.cuda.is_available() else "cpu"
        dtype = torch.bfloat16 if device == "cuda" else torch.float32
        loaded: Any = AutoModelForCausalLM.from_pretrained(model, local_files_only=True, dtype=dtype)
        self.model = loaded.to(device).eval()

    def p_yes(self, prompts: Sequence[Sample], count: int) -> Floats:
        """P(Yes) of `count` prompts, (N,): the softmax over Yes and No as the first token of the answer."""
        return p_yes(self.choices(prompts, count, YES_NO))

    def choices(
        self, prompts: Sequence[Sample], count: int, choices: Sequence[str], start: str | None = None
    ) -> Floats:
        """Unnormalised log-probability of each choice as the next token, (N, C).

        Args:
            start: what all prompts begin with, not repeated in them; None finds it.

        Raises:
            UsageError: if two choices begin with the same token.
        """
        import torch

        tokens_C = self.first_tokens(choices)
        if start is None:
            start, prompts = common_start(prompts)
        with torch.inference_mode():
            cache, head_CD = self._read(start), self.model.get_output_embeddings().weight[tokens_C]
            out = np.full((count, len(choices)), np.nan)
            batches = list(_batches([self._encode(sample, cache[0]) for sample in prompts]))
            for batch in track(batches, total=len(batches), what="scoring, batches"):
                hidden_ND = self._last(batch, cache)
                places = [place for one in batch for place in one.places]
                out[places] = (hidden_ND @ head_CD.T).double().cpu().numpy()
        return out

    def first_tokens(self, choices: Sequence[str]) -> list[int]:
        """The first token of each choice."""
        found = [self.tokenizer(choice, add_special_tokens=False)["input_ids"][0] for choice in choices]
        if len(set(found)) < len(found):
            raise UsageError(f"the model's tokenizer cannot tell {', '.join(choices)} apart by their first tokens")
        return found

    def _read(self, start: str) -> tuple[int, list[tuple[Any, Any]]]:
        """The common start's length and its keys and values, layer by layer."""
        import torch

        ids = self.tokenizer(start, add_special_tokens=False)["input_ids"]
        if not ids:
            return 0, []
        made = self.model.get_decoder()(torch.tensor([ids], device=self.model.device), use_cache=True).past_key_values
        return len(ids), [(layer.keys, layer.values) for layer in made.layers]

    def _encode(self, sample: Sample, start: int) -> _Encoded:
        shared = self.tokenizer(sample[0], add_special_tokens=False)["input_ids"] if sample[0] else []
        one = _Encoded([], list(shared), list(range(start, start + len(shared))), [0] * len(shared), [])
        for number, (place, rest) in enumerate(sample[1], start=1):
            ids = self.tokenizer(rest, add_special_tokens=False)["input_ids"]
            one.ids.extend(ids)
            one.positions.extend(range(start + len(shared), start + len(shared) + len(ids)))
            one.branch.extend([number] * len(ids))
            one.last.append(len(one.ids) - 1)
            one.places.append(place)
        return one

    def _last(self, batch: Sequence[_Encoded], cache: tuple[int, list[tuple[Any, Any]]]) -> Any:
        """The hidden state of each prompt's last token, (N, D)."""
        import torch
        from transformers import DynamicCache

        from llm.recgen.loss import PADDING, visible

        start, layers = cache
        length = max(len(one.ids) for one in batch)

        def padded(rows: Sequence[list[int]], value: int) -> Any:
            filled = [row + [value] * (length - len(row)) for row in rows]
            return torch.tensor(filled, device=self.model.device)

        seen_B1TT = visible(padded([one.branch for one in batch], PADDING))
        past = None
        if layers:
            size = (len(batch), -1, -1, -1)
            past = DynamicCache([(keys.expand(size), values.expand(size)) for keys, values in layers])
            seen_B1TT = torch.nn.functional.pad(seen_B1TT, (start, 0), value=True)
        hidden_BTD = self.model.get_decoder()(
            padded([one.ids for one in batch], 0),
            position_ids=padded([one.positions for one in batch], 0),
            attention_mask=seen_B1TT,
            past_key_values=past,
            use_cache=past is not None,
        ).last_hidden_state
        row_N = [row for row, one in enumerate(batch) for _ in one.last]
        last_N = [last for one in batch for last in one.last]
        return hidden_BTD[row_N, last_N]


def p_yes(log_NC: Floats) -> Floats:
    """The softmax over YES_NO, its first column, (N,)."""
    return 1 / (1 + np.exp(log_NC[:, 1] - log_NC[:, 0]))


def common_start(prompts: Sequence[Sample]) -> tuple[str, list[Sample]]:
    """What all prompts begin with, up to an end of line (where a token always ends), and the prompts without it.

    Nothing is shared where a prompt is the start of all others: something must be left of it.
    """
    heads = [shared or min(rest for _, rest in tails) for shared, tails in prompts]
    shared = os.path.commonprefix(heads)  # noqa: RUF071 - of texts
    start = "" if shared in heads else shared[: shared.rfind("\n") + 1]
    size = len(start)
    cut = [(one[size:], rest) if one else ("", [(place, tail[size:]) for place, tail in rest]) for one, rest in prompts]
    return start, cut


def _batches(encoded: Sequence[_Encoded]) -> Iterator[list[_Encoded]]:
    """Samples of like length together, about _TOKENS tokens a batch."""
    batch: list[_Encoded] = []
    for one in sorted(encoded, key=lambda one: len(one.ids)):
        if batch and (len(batch) + 1) * len(one.ids) > _TOKENS:
            yield batch
            batch = []
        batch.append(one)
    if batch:
        yield batch
