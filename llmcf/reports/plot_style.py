"""How the pictures of our pages look."""

from typing import Any

INK, ACCENT, GOOD, PALE = "#2c3e50", "#c0392b", "#2e8b57", "#aab7c4"
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
