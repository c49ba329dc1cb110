"""The rules that a worker goes by: those of the file and the lists that it names, taken together or not at all.

Where the file has a fault, or a list that it names is gone, what was taken last goes on, over restarts too.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from pydantic import TypeAdapter

from core import storage
from core.errors import UsageError
from core.progress import say
from llmcf.service import rules
from llmcf.service.rules import Scene

_KEPT = "rules.json"  # in the service's own folder


@dataclass(frozen=True, slots=True)
class Rules:
    """`scenes` by name; `lists` has the raw ids of each file that one of them names as `available`."""

    scenes: Mapping[str, Scene]
    lists: Mapping[str, list[str]]

    def available(self, scene: Scene) -> list[str] | None:
        """What the scene's own file lists; None where it names none."""
        return None if scene.available is None else self.lists[scene.available]


_RULES = TypeAdapter(Rules)
NONE = Rules(rules.NONE, {})


def load(dataset: str) -> Rules:
    """Raises UsageError for a fault of the file, and for a list that cannot be read."""
    file = rules.path(dataset)
    return _with_lists(rules.load(file), file.parent)


def keep(taken: Rules, place: Path) -> None:
    """Write down what was taken, for a worker that starts while there is a fault."""
    storage.write_json(place / _KEPT, _RULES.dump_python(taken, mode="json"))


def kept(place: Path) -> Rules | None:
    """What was taken last; None where that is not known."""
    try:
        return _RULES.validate_python(storage.read_json(place / _KEPT))
    except (OSError, ValueError):
        return None


class House:
    """Follows the rules of a data set; what is taken is kept in the folder `place`. `follow` is for one thread."""

    def __init__(self, dataset: str, place: Path) -> None:
        self._dataset, self._place, self._file = dataset, place, rules.path(dataset)
        self._seen: dict[Path, storage.Stamp | None] = {}  # the files as they were when they were last read
        self.taken = self._at_start()

    def follow(self) -> None:
        """Take what has changed; UsageError, once, for what cannot be taken."""
        seen = {path: storage.stamp(path) for path in (self._seen or (self._file,))}
        if seen == self._seen:
            return
        self._seen = seen
        try:
            scenes = rules.load(self._file)
            lists = (self._file.parent / name for name in _named(scenes))
            self._seen = {self._file: seen[self._file]} | {path: storage.stamp(path) for path in lists}
            self.taken = _with_lists(scenes, self._file.parent)
        except UsageError as error:
            cause = error.__cause__
            if isinstance(cause, OSError) and not isinstance(cause, FileNotFoundError):  # rights change no stamp
                self._seen = {}
            raise
        keep(self.taken, self._place)

    def _at_start(self) -> Rules:
        try:
            return load(self._dataset)
        except UsageError as error:
            found = kept(self._place)
            say(f"this worker starts {'without rules' if found is None else 'with the rules as they were'}: {error}")
            return NONE if found is None else found


def _with_lists(scenes: Mapping[str, Scene], folder: Path) -> Rules:
    return Rules(scenes, {name: rules.listed(folder / name) for name in _named(scenes)})


def _named(scenes: Mapping[str, Scene]) -> Iterable[str]:
    return sorted({scene.available for scene in scenes.values() if scene.available is not None})
