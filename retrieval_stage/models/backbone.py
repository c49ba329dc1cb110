"""What a tower asks of its backbone. Suffixes: B histories, L history length, D width."""

from typing import Protocol

from torch import Tensor


class Backbone(Protocol):
    """States of histories, which are scored against items by inner product; an nn.Module keeps this.

    A causal one gives the state after every position, each blind to what comes later, so that a window trains all of
    its positions at once. One that is not causal need get only the last state right: it is trained on the prefix of
    each position by itself, which takes several times as long.

    Padding, and how much of it there is, changes nothing: a window may be shorter than the longest history.
    """

    causal: bool

    def __call__(self, item_BLD: Tensor, history_BL: Tensor, user_BD: Tensor, /) -> Tensor:
        """Return states, (B, L, D).

        Args:
            item_BLD: embeddings of the history, zero at padding.
            history_BL: the ids themselves, newest last, `contracts.PAD` on the left, at most as many as it was made
                for; a graph of a session reads them.
            user_BD: the users' own embeddings, for a backbone that knows its user.
        """
        ...
