"""The command lines that errors name: which verb fills which folder of a workspace."""

from pathlib import Path

from core import settings
from core.data.tables import remedy
from core.errors import UsageError
from core.settings import Workspace

_VERBS = {
    ("data",): "data prepare",
    ("features",): "features build",
    ("training",): "features join",
    ("feast",): "features apply",
    ("cot", "texts"): "cot generate",
    ("cot", "vectors"): "cot embed",
    ("cot", "index"): "cot index",
    ("kar", "texts"): "kar generate",
    ("kar", "vectors"): "kar embed",
    ("scores",): "recgen score",
    ("recgen",): "recgen train",
    ("neighbours",): "rank train",
    ("ranking",): "rank train",
    ("retrieval",): "retrieve train",
}
_ELSE = "llmcf demo"  # every verb in turn


def maker(folder: Path) -> str:
    """The command that fills a folder of the home; for a folder nobody knows, the one that runs all verbs."""
    try:
        dataset, *place = folder.relative_to(settings.home()).parts
        if dataset == "models":
            return "llmcf llm fetch"
        order, as_of, *rest = place
        ws = Workspace(dataset, order, as_of)
    except (ValueError, UsageError):
        return _ELSE
    if rest[:2] == ["cot", "sets"] and rest[3:] == ["texts"]:
        return remedy(ws, f"cot restore --pack PACK --set {rest[2]}")
    if rest[:2] == ["cot", "sets"]:
        return remedy(ws, f"cot embed --set {rest[2]}")
    verb = _VERBS.get(tuple(rest[:2])) or _VERBS.get(tuple(rest[:1]))
    return remedy(ws, verb) if verb else _ELSE
