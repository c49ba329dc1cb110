"""Which model writes a data set's texts day after day: a note beside its workspaces.

A model that is tuned anew each day is asked every question anew. A pinned one is asked only what is new.
"""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from core import settings, storage
from core.errors import UsageError
from core.settings import LATEST, Workspace
from llm.defaults import PINNED


class KnowsLater(UsageError):  # noqa: N818 - reads better where it is raised
    """The pinned model knows days that a workspace must not know."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pin:
    """The note.

    Args:
        name: how texts name their author.
        folder: from LLMCF_HOME where it lies in it.
        hash: of the model's content.
        made: configuration of the step that made the model, where one did.
        order, until: of a tuned model, the order of its rows and the day of the newest interaction it may know.
        checked: what its check found, where it was pinned upon one.
    """

    name: str
    folder: str
    hash: str
    made: dict[str, Any] | None = None
    order: str | None = None
    until: str | None = None
    checked: dict[str, Any] | None = None

    @property
    def path(self) -> Path:
        return settings.home() / self.folder

    def fits(self, ws: Workspace) -> bool:
        """Whether the model was tuned on rows of the workspace's order, or is of none."""
        return self.order in (None, ws.order)

    def check(self, ws: Workspace) -> None:
        """Whether the model knows nothing that the workspace must not know.

        Raises:
            UsageError: if it was tuned on rows of another order.
            KnowsLater: if it was tuned on rows of days that this workspace does not have yet.
        """
        if not self.fits(ws):
            raise UsageError(f"the pinned {self.name} was tuned on rows in the order {self.order}, not {ws.order}")
        if self.until and ws.as_of != LATEST and self.until >= ws.as_of:
            raise KnowsLater(
                f"the pinned {self.name} knows interactions of {self.until}, --as-of is {ws.as_of}; what is to be "
                "written for a day before it takes another model, such as --model base"
            )


def file(ws: Workspace) -> Path:
    return settings.home() / ws.dataset / "llm-pin.json"


def folder(ws: Workspace) -> Path:
    """Where tuned models are kept that are pinned: their workspace may go."""
    return settings.home() / ws.dataset / "llm-pin"


def read(ws: Workspace) -> Pin | None:
    path = file(ws)
    return Pin(**storage.read_json(path)) if path.is_file() else None


def write(ws: Workspace, pin: Pin) -> None:
    storage.write_json(file(ws), asdict(pin))


def writer(ws: Workspace, otherwise: str) -> str:
    """The model that writes where none is named: on a dated day the pinned one, if one is pinned for this order."""
    pin = read(ws) if ws.as_of != LATEST else None
    return PINNED if pin and pin.fits(ws) else otherwise
