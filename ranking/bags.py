"""The ids of the seven fields: of users, items and histories, and as TorchRec takes them.

Suffixes: X rows whose fields are looked up together, U users, V items, P histories, L history length, C categories an
item, Y rows of all fields.
"""

from dataclasses import dataclass

import pyarrow as pa
import torch
import torch.nn.functional as F
from torch import Tensor
from torchrec import KeyedJaggedTensor

from core.contracts import PAD, UNKNOWN
from core.data.histories import Attributes
from ranking.layers import FIELDS, SIDES, TABLES, Sizes


@dataclass(frozen=True, slots=True)
class ItemFields:
    """What the model knows of items: brand (V,) and categories (V, C), padded. Rows 0 and 1 have none."""

    brand_V: Tensor
    categories_VC: Tensor

    @classmethod
    def of(cls, items: pa.Table) -> "ItemFields":
        """From a table of `schemas.ITEMS`."""
        attributes = Attributes.of(items)
        return cls(torch.from_numpy(attributes.brand_V), torch.from_numpy(attributes.categories_VC))

    def sizes(self, users: int) -> Sizes:
        """Rows of each embedding table; `users` counts the vocabulary's rows."""
        return Sizes(
            user=users,
            item=len(self.brand_V),
            brand=max(int(self.brand_V.max()), UNKNOWN) + 1,
            category=max(int(self.categories_VC.max()), UNKNOWN) + 1,
        )


@dataclass(frozen=True, slots=True)
class Bags:
    """The ids of every field of every user, item and history, end to end, and where each bag starts and how long it is.

    A batch is then one gather, whatever the number of its fields. Starts and lengths are (2, fields, rows).
    """

    values_X: Tensor
    user_21U: Tensor
    item_23V: Tensor
    history_23P: Tensor

    @classmethod
    def of(cls, items: ItemFields, users: int, history_PL: Tensor) -> "Bags":
        """The bags of user ids below `users`, of all items, and of the histories."""
        user, item = torch.arange(users), torch.arange(len(items.brand_V))
        padded = padded_fields(items, user, item, history_PL)
        values, places, at = [], [], 0
        for name in FIELDS:
            there = padded[name] != PAD
            lengths = there.sum(dim=1)
            starts = at + F.pad(lengths.cumsum(0)[:-1], (1, 0))
            values.append(padded[name][there])
            places.append(torch.stack([starts, lengths]))
            at += len(values[-1])
        kinds = [torch.stack(places[start:stop], dim=1) for start, stop in ((0, 1), (1, 4), (4, 7))]
        return cls(torch.cat(values), *kinds)

    def __call__(
        self, user_X: Tensor, item_X: Tensor, history_X: Tensor, nameless: Tensor | None = None
    ) -> KeyedJaggedTensor:
        """The fields of X rows, 2X bags a table: first of users and items, then of histories, where users have none.

        A table is then looked up once for both, which takes half the time of two.

        Args:
            nameless: which rows' items have the id UNKNOWN beside their brand and categories, as new ones have.
        """
        user_21X, history_23X = self.user_21U[:, :, user_X], self.history_23P[:, :, history_X]
        item_23X = self.item_23V[:, :, item_X]
        if nameless is not None:
            item_23X[:, 0, nameless] = self.item_23V[:, 0, UNKNOWN, None]
        of_user = torch.stack([user_21X, torch.zeros_like(user_21X)], dim=2)
        of_item = torch.stack([item_23X, history_23X], dim=2)
        starts_Y, lengths_Y = torch.cat([of_user, of_item], dim=1).flatten(1)  # table after table
        ends_Y = lengths_Y.cumsum(0)
        shift_Y = starts_Y - ends_Y + lengths_Y
        count = int(ends_Y[-1])
        at = torch.arange(count) + torch.repeat_interleave(shift_Y, lengths_Y, output_size=count)
        values = self.values_X.index_select(0, at)  # half the time of values_X[at]
        return KeyedJaggedTensor(keys=list(TABLES), values=values, lengths=lengths_Y, offsets=F.pad(ends_Y, (1, 0)))


def lengthened(sparse: KeyedJaggedTensor, rows: int) -> KeyedJaggedTensor:
    """The fields of X rows followed by empty ones, `rows` in all."""
    lengths_TSX = sparse.lengths().view(len(TABLES), SIDES, -1)
    lengths = F.pad(lengths_TSX, (0, rows - lengths_TSX.shape[2])).flatten()
    return KeyedJaggedTensor(keys=list(TABLES), values=sparse.values(), lengths=lengths)


def padded_fields(items: ItemFields, user_X: Tensor, item_X: Tensor, history_XL: Tensor) -> dict[str, Tensor]:
    """The ids of every field, (X, any), padded with PAD."""
    return {
        "user": user_X[:, None],
        "item": item_X[:, None],
        "brand": items.brand_V[item_X][:, None],
        "category": items.categories_VC[item_X],
        "history_item": history_XL,
        "history_brand": items.brand_V[history_XL],
        "history_category": items.categories_VC[history_XL].flatten(1),
    }
