"""Messages of what comes in: events, new items, new users."""

from typing import Annotated, Any, Literal

from pydantic import Field, WithJsonSchema

from llmcf.service.examples import shown
from llmcf.service.messages import Message

EVENTS = 500  # of one call
NEWCOMERS = 100  # items or users of one call

# Judged by core/data/events.py, as in files and pushes, which says more than a type could.
RawId = Annotated[Any, WithJsonSchema({"anyOf": [{"type": "string", "maxLength": 256}, {"type": "integer"}]})]
Seconds = Annotated[Any, WithJsonSchema({"anyOf": [{"type": "number"}, {"type": "null"}]})]
Labels = Annotated[list[Annotated[str, Field(max_length=200)]], Field(max_length=50)]
Printable = Annotated[str, Field(pattern=r"^[\x21-\x7e]{1,128}$")]


class EventIn(Message):
    """Something that a user did with an item. `interaction` is what histories are made of: a purchase, a rating.

    `timestamp` is in Unix seconds, now if not given; `request_id` that of the answer that showed the item.
    """

    id: Printable
    kind: Literal["click", "view", "interaction"]
    user: RawId
    item: RawId
    timestamp: Seconds = None
    request_id: Printable | None = None


class EventsIn(Message):
    model_config = shown({"events": [{"id": "e-1", "kind": "interaction", "user": "c0", "item": "p1"}]})

    events: Annotated[list[EventIn], Field(min_length=1, max_length=EVENTS)]


class EventOut(Message):
    """What became of one event. `reason` and `detail` say why it is refused, `pointer` where.

    `shown` is whether the answer that it names showed the item; null where no such answer is kept.
    """

    id: str
    status: Literal["accepted", "duplicate", "refused"]
    shown: bool | None = None
    reason: str | None = None
    detail: str | None = None
    pointer: str | None = None


class EventsOut(Message):
    """In the order of the events, one of which at least was accepted or is a duplicate."""

    model_config = shown(
        {
            "events": [
                {"id": "e-1", "status": "accepted", "shown": True},
                {
                    "id": "e-2",
                    "status": "refused",
                    "reason": "unknown_item",
                    "detail": "no item has this id; POST /items adds it",
                    "pointer": "/events/1/item",
                },
            ]
        }
    )

    events: list[EventOut]


class ItemIn(Message):
    """A new item, by what is known of it."""

    id: RawId
    title: Annotated[str, Field(max_length=1000)] = ""
    brand: Annotated[str, Field(max_length=200)] = ""
    categories: Labels = Field(default_factory=list)
    description: Annotated[str, Field(max_length=10_000)] = ""


class ItemsIn(Message):
    model_config = shown({"items": [{"id": "p99", "title": "Rose soap", "brand": "Acme", "categories": ["Soap"]}]})

    items: Annotated[list[ItemIn], Field(min_length=1, max_length=NEWCOMERS)]


class UserIn(Message):
    id: RawId


class UsersIn(Message):
    model_config = shown({"users": [{"id": "c99"}]})

    users: Annotated[list[UserIn], Field(min_length=1, max_length=NEWCOMERS)]


class Newcomer(Message):
    """An item or a user; `duplicate` where it was known, and the same."""

    id: str
    status: Literal["accepted", "duplicate"]


class ItemsOut(Message):
    model_config = shown({"items": [{"id": "p99", "status": "accepted"}]})

    items: list[Newcomer]


class UsersOut(Message):
    model_config = shown({"users": [{"id": "c99", "status": "accepted"}]})

    users: list[Newcomer]
