"""What is remembered of releases that were removed: their manifests, for whoever asks which release a day had.

`<repository>/releases/<data set>/gone/<number>/release.json`, a few kilobytes each, for ever.
"""

import shutil
from contextlib import suppress

from core import storage
from llmcf.serving import manifest
from llmcf.serving.manifest import Release, Unreadable

_PLACE = "gone"


def remember(dataset: str, number: int) -> None:
    """Keep the manifest of a release that is about to be removed; one without a manifest is forgotten."""
    written = manifest.folder(dataset, number) / manifest.FILE
    if written.is_file():
        with storage.atomic_folder(manifest.root(dataset) / _PLACE / str(number)) as folder:
            shutil.copyfile(written, folder / manifest.FILE)


def of(dataset: str) -> list[Release]:
    """The removed releases of a data set that this version can read, oldest first; nothing else of them is there."""
    numbers = sorted(int(path.name) for path in (manifest.root(dataset) / _PLACE).glob("*") if path.name.isdigit())
    found = []
    for number in numbers:
        with suppress(Unreadable):
            found.append(Release.read(manifest.root(dataset) / _PLACE / str(number)))
    return [one for one in found if not one.folder.exists()]  # a killed removal has remembered it, and left it
