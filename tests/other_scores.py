"""Two other ways to what `llm.recgen.scoring` computes: the slow twin, and an engine that can tell, which is vLLM."""

from collections.abc import Sequence

import numpy as np

from core.progress import track
from llm.engines import Engine, Request, complete
from llm.recgen.scoring import Floats, Scorer


def naive(scorer: Scorer, texts: Sequence[str], choices: Sequence[str], *, batch: int = 16) -> Floats:
    """Whole prompts, padded on the right, and every token's logits; (N, C)."""
    import torch

    tokens_C = scorer.first_tokens(choices)
    out = []
    for start in range(0, len(texts), batch):
        ids = [scorer.tokenizer(text, add_special_tokens=False)["input_ids"] for text in texts[start : start + batch]]
        length = max(map(len, ids))
        padded = torch.tensor([row + [0] * (length - len(row)) for row in ids], device=scorer.model.device)
        mask = torch.tensor([[1] * len(row) + [0] * (length - len(row)) for row in ids], device=scorer.model.device)
        with torch.inference_mode():
            logits = scorer.model(padded, attention_mask=mask).logits
        out += [logits[row, len(one) - 1, tokens_C].double().cpu().numpy() for row, one in enumerate(ids)]
    return np.stack(out)


def by_engine(engine: Engine, texts: Sequence[str], choices: Sequence[str]) -> Floats:
    """Log-probability of each choice among them as the next token, (N, C)."""
    out = np.full((len(texts), len(choices)), np.nan)
    asked = (
        Request(number=number, prompt=text, max_new_tokens=1, choices=tuple(choices))
        for number, text in enumerate(texts)
    )
    for made in track(complete(engine, asked), total=len(texts), what="scoring"):
        out[made.number] = made.choices
    return out
