"""The identity of LLMCF_HOME, by which homes that share a server tell their data apart."""

import uuid

from filelock import FileLock

from core import settings, storage
from core.settings import Workspace

_DIGITS = 8  # of the identity, in a name


def home_id() -> str:
    """It stays when the folder is moved, and is made at the first call."""
    path = settings.home() / "home.json"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(path.with_name(".home.lock")):
            if not path.exists():
                storage.write_json(path, {"id": uuid.uuid4().hex})
    return storage.read_json(path)["id"]


def prefix(ws: Workspace) -> str:
    """Begins the names of a workspace's data in Milvus and Redis: letters, digits and underscores, of this home."""
    return f"{ws.dataset}_{ws.order}_{ws.as_of}_{home_id()[:_DIGITS]}".replace("-", "_")
