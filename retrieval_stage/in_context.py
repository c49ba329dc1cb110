"""LLM-CF in the retrieval stage: w, the in-context feature of a user vector.

A representation r joins the user, the backbone's state after the history, the history's text, the target item and the
target's text. Examples have all five. A request has no target yet: it gets padding in its place, and no text.

An example's state is the backbone's, without a gradient and encoded afresh every few steps: the examples' histories
would otherwise cost several times the batch itself.

Suffixes: X requests, M examples + 1, U distinct examples + 1, K examples a request, L history length, V items,
E text width, D width.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from ict.config import IctConfig
from ict.examples import ExampleSet, history_vectors
from ict.module import InContext, distinct

Lookup = Callable[[Tensor], Tensor]
_PARTS = 5
_HIDDEN = 128


class InContextFeature(nn.Module):
    """w of requests from their examples. What the examples are is data, not weights: it is not in the state dict.

    Args:
        users: representations hold the user's own embedding; padding in its place otherwise.
    """

    item_vectors_VE: Tensor
    user_M: Tensor
    item_M: Tensor
    history_ML: Tensor
    label_M: Tensor
    cot_ME: Tensor
    state_MD: Tensor
    tokens_M3D: Tensor

    def __init__(self, examples: ExampleSet, config: IctConfig, width: int, *, users: bool = True) -> None:
        super().__init__()
        self.users = users
        self.ict = InContext(config, width=width, text_width=examples.cot_ME.shape[1])
        self.represent = nn.Sequential(nn.Linear(_PARTS * width, _HIDDEN), nn.ReLU(), nn.Linear(_HIDDEN, width))
        count = len(examples.row_M)
        data = {
            "item_vectors_VE": examples.item_vectors_VE,
            "user_M": examples.user_M,
            "item_M": examples.item_M,
            "history_ML": examples.history_ML,
            "label_M": examples.label_M,
            "cot_ME": examples.cot_ME,
            "state_MD": torch.zeros(count, width),
            "tokens_M3D": torch.zeros(count, 3, width),
        }
        for name, values in data.items():
            self.register_buffer(name, values, persistent=False)

    def tokens(self, ids_U: Tensor, user: Lookup, item: Lookup) -> Tensor:
        """The r, c and l tokens of the examples `ids_U`, (U, 3, D); the first must be 0, "no example"."""
        parts = [
            self._user(user(self.user_M[ids_U])),
            self.state_MD[ids_U],
            self.ict.text(self.texts_of(self.history_ML[ids_U])),
            item(self.item_M[ids_U]),
            self.ict.text(self.item_vectors_VE[self.item_M[ids_U]]),
        ]
        return self.ict.tokens(self.represent(torch.cat(parts, dim=-1)), self.cot_ME[ids_U], self.label_M[ids_U])

    def represent_requests(self, user_XD: Tensor, state_XD: Tensor, history_XE: Tensor) -> Tensor:
        """r of requests, (X, D), with their histories' text vectors: their target is masked."""
        nothing_XD = torch.zeros_like(state_XD)
        parts = [self._user(user_XD), state_XD, self.ict.text(history_XE), nothing_XD, nothing_XD]
        return self.represent(torch.cat(parts, dim=-1))

    def _user(self, user_XD: Tensor) -> Tensor:
        return user_XD if self.users else torch.zeros_like(user_XD)

    def train_on(
        self, r_XD: Tensor, examples_XK: Tensor, similarity_XK: Tensor, user: Lookup, item: Lookup
    ) -> tuple[Tensor, Tensor]:
        """w, (X, D), with gradients into the tokens of the batch's distinct examples, and the reconstruction loss."""
        ids_U, slots_XK = distinct(examples_XK)
        w_XD, predict_XKD = self.ict(r_XD, self.tokens(ids_U, user, item), slots_XK, similarity_XK)
        return w_XD, self.ict.added_loss(predict_XKD, slots_XK, self.cot_ME[ids_U])

    def forward(self, r_XD: Tensor, examples_XK: Tensor, similarity_XK: Tensor | None) -> Tensor:
        """w, (X, D), from the tokens that `freeze` made."""
        return self.ict(r_XD, self.tokens_M3D, examples_XK, similarity_XK)[0]

    @torch.no_grad()
    def freeze(self, user: Lookup, item: Lookup) -> None:
        """Compute the tokens of all examples, for evaluation and serving."""
        self.tokens_M3D = self.tokens(torch.arange(len(self.user_M)), user, item)

    def texts_of(self, history_XL: Tensor) -> Tensor:
        """The text vectors of histories, (X, E)."""
        return history_vectors(self.item_vectors_VE, history_XL)
