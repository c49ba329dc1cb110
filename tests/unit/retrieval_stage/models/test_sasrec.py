"""SASRec beyond what every backbone keeps."""

import torch

from retrieval_stage.configs import SasRecConfig
from retrieval_stage.models.sasrec import SASRec

LENGTH, WIDTH = 6, 8


def test_every_earlier_item_counts() -> None:
    torch.manual_seed(0)
    sasrec = SASRec(WIDTH, LENGTH, SasRecConfig(heads=2)).eval()
    items, history, user = torch.randn(1, LENGTH, WIDTH), torch.arange(2, 2 + LENGTH)[None], torch.zeros(1, WIDTH)
    for place in range(LENGTH):
        changed = items.clone()
        changed[:, place] = torch.randn(WIDTH)
        before, after = sasrec(items, history, user)[:, -1], sasrec(changed, history, user)[:, -1]
        assert not torch.allclose(before, after, atol=1e-5), place
