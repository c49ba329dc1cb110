"""What the supervisor tells the workers, and they it: small files in a folder, `<home>/<data set>/service/`.

`serving.json` names the releases that Triton has loaded and tried, the first of them live, and the arms that are on; a
worker holds them all and writes down, in `workers/<pid>.json`, when it has switched.
"""

import time
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil

from core import settings, storage
from llmcf.serving import arms
from llmcf.serving.arms import Arms
from llmcf.serving.triton_server import Server

_POLL_S = 0.02


@dataclass(frozen=True, slots=True)
class Serving:
    """`releases` that can be asked, the live one first; `server` is the Triton that has them, and those of `arms`."""

    releases: tuple[int, ...]
    server: Server
    arms: Arms = arms.NONE

    @property
    def live(self) -> int:
        return self.releases[0]


def folder(dataset: str) -> Path:
    """Where the service of a data set keeps what outlives it, too."""
    return settings.home() / dataset / "service"


def serving_file(place: Path) -> Path:
    return place / "serving.json"


def write(place: Path, serving: Serving) -> None:
    told = asdict(serving)
    told["server"]["log"] = str(serving.server.log)
    told["arms"] = serving.arms.model_dump()
    storage.write_json(serving_file(place), told)


def read(place: Path) -> Serving | None:
    """What is served, None before anything is."""
    try:
        told = storage.read_json(serving_file(place))
    except FileNotFoundError:
        return None
    server = Server(**{**told["server"], "log": Path(told["server"]["log"])})
    return Serving(tuple(told["releases"]), server, Arms.model_validate(told.get("arms", {})))


def await_serving(place: Path) -> None:
    """Until something is served: for a worker, which ends with its supervisor."""
    while not serving_file(place).exists():
        time.sleep(_POLL_S)


def switched(place: Path, pid: int, live: int) -> None:
    """Say that a worker answers with this release."""
    storage.write_json(place / "workers" / f"{pid}.json", {"live": live})


def workers(place: Path) -> dict[int, int]:
    """The live release of each worker that is there, by process; what dead ones left is removed."""
    found = {}
    for path in (place / "workers").glob("*.json"):
        if psutil.pid_exists(int(path.stem)):
            found[int(path.stem)] = storage.read_json(path)["live"]
        else:
            path.unlink(missing_ok=True)
    return found
