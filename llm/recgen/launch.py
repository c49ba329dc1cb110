"""The training worker under torchrun, with DeepSpeed's environment."""

import os
import re
import sys
from pathlib import Path

from filelock import FileLock

from core import settings, torchrun
from core.progress import say

_WORKER = "llm.recgen.worker"
_SHOWN = "recgen:"
_BUILD = "build"  # what the worker is given instead of a job
_BUILT = "built"  # marks a finished build


def worker(job: Path, *, processes: int, nodes: int = 1) -> None:
    """Run the worker on `job`, as `core.torchrun.launch` does."""
    environment = _environment(_extensions())
    torchrun.launch(_WORKER, job, shown=_SHOWN, processes=processes, nodes=nodes, environment=environment)


def _environment(extensions: Path) -> dict[str, str]:
    import torch

    out = {
        **os.environ,
        "TORCH_EXTENSIONS_DIR": str(extensions),
        "HF_HUB_OFFLINE": "1",
        "TOKENIZERS_PARALLELISM": "false",
    }
    if not torch.cuda.is_available():
        out["DS_ACCELERATOR"] = "cpu"
    path = str(Path(sys.executable).parent)  # ninja, for DeepSpeed's build
    return out | {"PATH": f"{path}{os.pathsep}{out.get('PATH', '')}"}


def _extensions() -> Path:
    """The folder of DeepSpeed's compiled operators; the first run on a machine compiles them, one process at a time.

    A build that was killed leaves a lock file that later ones would wait for without end. Nobody else builds while we
    hold our own lock, so it is removed.
    """
    import torch

    version = re.sub(r"\W+", "_", torch.__version__)
    folder = settings.home() / "torch-extensions" / version
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder.with_name(f".{version}.lock")):
        if not (folder / _BUILT).exists():
            for left_over in folder.rglob("lock"):
                left_over.unlink()
            say("recgen: compiling DeepSpeed's operators, once on this machine")
            torchrun.watch([sys.executable, "-m", _WORKER, _BUILD], shown=_SHOWN, environment=_environment(folder))
            (folder / _BUILT).touch()
    return folder
