"""What messages look like, for the documentation: of the shop of the tutorials."""

from typing import Any

from pydantic import ConfigDict

ITEM = {"item": "p1", "title": "Rose soap", "brand": "Acme", "categories": ["Soap"]}
SERVED = {
    "release": 3,
    "experiment": "",
    "arm": "live",
    "rung": "full",
    "degraded": [],
    "milliseconds": {"features": 0.6, "ranker": 4.1},
}
REASON = {
    "examples": [
        {
            "user": "c7",
            "item_title": "Lavender soap",
            "taken": True,
            "date": "2026-01-02",
            "similarity": 0.83,
            "chain_of_thought": "Who bought creams and oils cares about scent.",
        }
    ],
    "example_share": 0.02,
    "own_history": ["Hand cream"],
}
ANSWER = {
    "id": "shop-7",
    "user": "c0",
    "items": [{"item": "p1", "title": "Rose soap", "score": 0.61, "placed_by": None, "reason": REASON}],
    "note": "",
    "cursor": "c2hvcC03fDN8NjYwYQ",
    "served_by": SERVED,
}


def shown(*examples: dict[str, Any]) -> ConfigDict:
    """The configuration of a message that carries examples."""
    return ConfigDict(json_schema_extra={"examples": list(examples)})
