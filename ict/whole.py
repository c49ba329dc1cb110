"""Vectors of the examples' whole texts x^t, for queries of kind `text`: what `cot embed --whole` has made."""

import numpy as np
from safetensors.torch import load_file
from torch import Tensor

from core import steps
from core.data.tables import remedy
from core.errors import Missing
from core.settings import Workspace

VERB = "cot embed --whole"
FILE = "whole.safetensors"


def whole_vectors(ws: Workspace, rows: np.ndarray) -> Tensor | None:
    """The unit vectors of the texts of training rows numbered `rows`, (M, E); None where there are none.

    Raises:
        Missing: if they are of other rows, or of what these were before; names the verb that makes them.
    """
    folder = ws.cot("whole")
    if not folder.exists():
        return None
    steps.require_current(folder, remedy(ws, VERB))
    stored = load_file(folder / FILE)
    if not np.array_equal(stored["rows"].numpy(), rows):
        raise Missing(f"the whole texts of {folder} are of other rows than the chains of thought", remedy(ws, VERB))
    return stored["whole"]
