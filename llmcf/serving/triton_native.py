"""A release's models for Triton's native ONNX Runtime backend: `python -m llmcf.serving.triton_native shop FOLDER`.

Graphs, weights and tables are those of the live release. What changes is the backend's name, that every input must be
sent, and that nothing looks at the numbers that are sent: what `model.py` refuses, the backend takes. The model `score`
is code, and is left out.
"""

import argparse
import shutil
from pathlib import Path

from core import storage
from core.errors import LlmcfError, UsageError
from core.progress import say
from llmcf.serving import releases
from llmcf.serving.manifest import Release

_CODE = shutil.ignore_patterns("model.py", "__pycache__")


def write(release: Release, folder: Path) -> None:
    """Copy the release's model repository to `folder`, which must not be there; it appears whole.

    Raises:
        UsageError: if something is there.
        LlmcfError: if a file of the release is damaged.
    """
    if folder.exists():
        raise UsageError(f"{folder} is there already; name a folder that is not")
    release.require_whole()
    with storage.atomic_folder(folder) as beside:
        for name in release.stages:
            shutil.copytree(release.models / name, beside / name, ignore=_CODE)
            path = beside / name / "config.pbtxt"
            path.write_text(native(path.read_text(encoding="utf-8")), encoding="utf-8")


def native(configuration: str) -> str:
    """A config.pbtxt of the Python backend as one of the native backend."""
    return configuration.replace('backend: "python"', 'backend: "onnxruntime"').replace(" optional: true", "")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dataset", help="whose live release")
    parser.add_argument("folder", type=Path, help="to be made")
    arguments = parser.parse_args()
    try:
        release = releases.require(arguments.dataset)
        write(release, arguments.folder)
    except LlmcfError as error:
        parser.exit(2 if isinstance(error, UsageError) else 1, f"{error}\n")
    say(f"{arguments.folder} holds the models of release {release.number} for the native backend")


if __name__ == "__main__":
    main()
