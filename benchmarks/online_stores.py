"""Online stores for a benchmark: a workspace's features, brought online in a home of the benchmark's own."""

import os
import shutil
import sqlite3
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

from core import settings, steps
from core.data.tables import remedy
from core.settings import Workspace
from llmcf.feature_store import jobs, redis_address
from llmcf.online.views import View, key_bytes
from tests.redis_server import run_redis

Asked = Sequence[tuple[View, Sequence[int]]]
Bare = Callable[[Asked], Callable[[], object]]  # prepares a read, whose call then fetches bytes and nothing else


@contextmanager
def sqlite(ws: Workspace) -> Iterator[Bare]:
    """The bare reads of a store that is filled for the length of the block, which sees its home and no other."""
    with own_home(ws, redis=None):
        project = filled(ws)
        with closing(sqlite3.connect(ws.path("feast", "online.db"))) as connection:
            yield (
                lambda asked: (
                    lambda: [connection.execute(query, keys).fetchall() for query, keys in _queries(project, asked)]
                )
            )


@contextmanager
def redis(ws: Workspace) -> Iterator[Bare]:
    """The same on a Redis server of its own.

    Raises:
        LlmcfError: if there is none.
    """
    with run_redis() as server, own_home(ws, redis=server.connection):
        project = filled(ws)
        with redis_address.client(server.connection) as client:

            def bare(asked: Asked) -> Callable[[], object]:
                commands = _commands(project, asked)

                def read() -> object:
                    with client.pipeline(transaction=False) as pipe:
                        for key, names in commands:
                            pipe.execute_command("HMGET", key, *names)
                        return pipe.execute()

                return read

            yield bare


def _queries(project: str, asked: Asked) -> list[tuple[str, list[bytes]]]:
    made = []
    for view, ids in asked:
        query = f'SELECT value FROM "{project}_{view.name}" WHERE entity_key IN ({",".join("?" * len(ids))})'
        made.append((query, [key_bytes(view.key)(one) for one in ids]))
    return made


def _commands(project: str, asked: Asked) -> list[tuple[bytes, list[bytes]]]:
    """One a key: Feast keeps all views of an entity in one hash."""
    from feast.infra.online_stores.helpers import _mmh3

    names: dict[bytes, list[bytes]] = {}
    for view, ids in asked:
        for one in ids:
            wanted = names.setdefault(key_bytes(view.key)(one) + project.encode(), [])
            wanted += [_mmh3(f"{view.name}:{field}") for field in view.fields]
    return list(names.items())


def filled(ws: Workspace) -> str:
    """Apply and materialize; the project's name."""
    project = jobs.apply(ws).details["project"]
    jobs.materialize(ws)
    return project


@contextmanager
def own_home(ws: Workspace, redis: str | None) -> Iterator[None]:
    """A home that links to all of the real one but the workspace's online store, so that its own is left alone."""
    steps.require(ws.path("features"), remedy(ws, "features build"))
    real, made, before = settings.home(), ws.root, dict(os.environ)
    with tempfile.TemporaryDirectory(dir=settings.home(), prefix="online-") as home:
        os.environ["LLMCF_HOME"] = home
        os.environ.pop("LLMCF_REDIS", None)
        if redis:
            os.environ["LLMCF_REDIS"] = redis
        try:
            ws.root.mkdir(parents=True)
            for place in (made, real / ws.dataset, real):
                _link(place, Path(home) / place.relative_to(real))
            yield
        finally:
            os.environ.clear()
            os.environ.update(before)


def _link(real: Path, here: Path) -> None:
    """Link to what is in a folder, but for locks, stores and what is a service's; what one writes to is copied."""
    for path in real.iterdir():
        if path.name.startswith((".", "feast", "online-", "service", "rules.toml")) or (here / path.name).exists():
            continue
        if path.name in ("pushed", "vocabulary"):
            shutil.copytree(path, here / path.name)
        else:
            (here / path.name).symlink_to(path)
