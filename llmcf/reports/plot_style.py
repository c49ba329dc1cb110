"""How the pictures of our pages look."""

from typing import Any

INK, ACCENT, GOOD, PALE = "#2c3e50", "#c0392b", "#2e8b57", "#aab7c4"
_SHAPES = "osD^vP"
_COLOURS = (INK, "#d68910", GOOD, "#7d3c98", ACCENT, "#7f8c9b")
STYLE: dict[Any, Any] = {
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": PALE,
    "axes.labelcolor": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "svg.fonttype": "none",  # text stays text: smaller, and readable by machines
    "svg.hashsalt": "llmcf",  # the same picture has the same bytes
}


def backbone_style(place: int) -> tuple[str, str]:
    """Shape and colour of the backbone at a place in the registry; so many as there are, two differ in one of them."""
    return _SHAPES[place % len(_SHAPES)], _COLOURS[(place + place // len(_SHAPES)) % len(_COLOURS)]
