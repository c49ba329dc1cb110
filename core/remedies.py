"""The command lines that errors name: which verb fills which folder of a workspace."""

from pathlib import Path

from core import settings
from core.contracts import COT_CONTROLS, SEQUENCE
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
    ("cot", "whole"): "cot embed --whole",
    ("cot", "index"): "cot index",
    ("kar", "texts"): "kar generate",
    ("kar", "vectors"): "kar embed",
    ("scores", SEQUENCE): "retrieve date-scores",
    ("scores",): "recgen score",
    ("recgen",): "recgen train",
    ("evaluations",): "backfill recgen",
    ("evaluations", "checked"): "llm check",
    ("neighbours",): "rank train",
    ("ranking",): "rank train",
    ("retrieval",): "retrieve train",
}
_ELSE = "llmcf demo"  # every verb in turn


def cot_verbs(cot_set: str) -> tuple[str, str]:
    """The verbs that fill a CoT set: with texts, with vectors."""
    if not cot_set:
        return "cot generate", "cot embed"
    texts = f"cot control --kind {cot_set}" if cot_set in COT_CONTROLS else f"cot restore --pack PACK --set {cot_set}"
    return texts, f"cot embed --set {cot_set}"


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
    if rest[:2] == ["cot", "sets"]:
        return remedy(ws, cot_verbs(rest[2])[rest[3:] != ["texts"]])
    verb = _VERBS.get(tuple(rest[:2])) or _VERBS.get(tuple(rest[:1]))
    return remedy(ws, verb) if verb else _ELSE
