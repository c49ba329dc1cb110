"""A workspace's feast/ folder: what it was made from, and Feast's jobs inside it.

`applied.json` names the release that is registered, `materialized.json` what the online store holds. A new release is
made beside the one that serves, which is set aside and answers until the new one is materialized. Feast itself runs
in `llmcf.feature_store.worker`, a process of its own.
"""

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from filelock import FileLock

from core import homes, settings, steps, storage
from core.data import features, tables
from core.errors import LlmcfError, Missing
from core.progress import say
from core.settings import Workspace
from llmcf.feature_store import redis_address

REPO = settings.PROJECT / "feature_repo"
APPLIED, MATERIALIZED = "applied.json", "materialized.json"
ONLINE = "online"  # in feast/: a feature_store.yaml that Feast opens without llmcf
BEFORE = "feast.before"  # beside feast/: the release that answers until the one there is materialized
UNTIL = "until"  # in MATERIALIZED: the end of the materialised span or the newest pushed event, Unix seconds


def release(ws: Workspace) -> dict[str, Any]:
    """What decides whether Feast must be applied again. The project's name changes with the features' content."""
    stamp = steps.require(ws.path("features"), tables.remedy(ws, "features build"))
    redis = settings.redis_connection()
    return {
        "project": f"{homes.prefix(ws)}_{stamp['content'][:8]}",
        "repo": storage.digest([(path.name, storage.sha256(path)) for path in _repo_files()]),
        "online_store": "redis" if redis else "sqlite",
        "connection": connection_digest(redis) if redis else None,
    }


def connection_digest(connection: str) -> str:
    """Which server it is. Without the credential: a new password is no other store, and a digest could be guessed."""
    return storage.digest(redis_address.address(connection))


def marker(ws: Workspace, name: str) -> Any:
    """The content of one of the two marker files, or None."""
    return _read(ws.path("feast", name))


def _read(path: Path) -> Any:
    return storage.read_json(path) if path.exists() else None


def require_applied(ws: Workspace) -> None:
    """Raises Missing unless what is registered is what the features and feature_repo/ say now."""
    if marker(ws, APPLIED) != release(ws):
        raise Missing("the feature store does not match the features", tables.remedy(ws, "features apply"))


def locked(ws: Workspace) -> FileLock:
    """One process at a time changes the folder."""
    ws.root.mkdir(parents=True, exist_ok=True)
    return FileLock(ws.path(".feast.lock"))


def copy_repo(ws: Workspace, wanted: dict[str, Any]) -> None:
    """Fill feast/ with feature_repo/, its configuration for this workspace, and the feature files."""
    folder = ws.path("feast")
    (folder / "data").mkdir(parents=True, exist_ok=True)
    for source in _repo_files():
        shutil.copy(source, folder / source.name)
    _write_config(folder, _config(wanted))
    for name in features.SCHEMAS:
        with storage.atomic_path(folder / "data" / f"{name}.parquet") as beside:
            shutil.copy(ws.path("features", f"{name}.parquet"), beside)


def offer_online(ws: Workspace, wanted: dict[str, Any]) -> None:
    """Write the store's configuration for those who read online and have no llmcf, whose offline store it names.

    Paths are seen from ONLINE, which moves along with feast/.
    """
    config = {name: value for name, value in _config(wanted).items() if name != "offline_store"}
    for part in ("registry", "online_store"):
        if "path" in config[part]:
            config[part] = {**config[part], "path": f"../{config[part]['path']}"}
    _write_config(ws.path("feast", ONLINE), config)


def _config(wanted: dict[str, Any]) -> dict[str, Any]:
    """feature_repo's feature_store.yaml for a release."""
    import yaml  # Feast brings it

    config = yaml.safe_load((REPO / "feature_store.yaml").read_text(encoding="utf-8")) | {"project": wanted["project"]}
    if wanted["online_store"] == "redis":  # Feast expands the variable, so no credential is written
        config["online_store"] = {"type": "redis", "connection_string": "${LLMCF_REDIS}"}
    return config


def _write_config(folder: Path, config: dict[str, Any]) -> None:
    import yaml

    with storage.atomic_path(folder / "feature_store.yaml") as beside:
        beside.write_text(yaml.safe_dump(config, sort_keys=False), encoding="utf-8")


def set_aside(ws: Workspace) -> None:
    """Make room for a new release in feast/; one that serves goes on beside it until the new one is materialized."""
    feast, before = ws.path("feast"), ws.path(BEFORE)
    if not feast.exists():
        return
    if marker(ws, MATERIALIZED):
        drop_before(ws)
        feast.rename(before)
        return
    _forget_rows(ws, feast)  # of one that never served: at most a push has brought it some
    for name in (APPLIED, "registry.db", "online.db"):
        (feast / name).unlink(missing_ok=True)


def drop_before(ws: Workspace) -> None:
    """Remove what was set aside, its rows in Redis included, if they are of another project there."""
    before = ws.path(BEFORE)
    if (_read(before / APPLIED) or {}).get("project") != release(ws)["project"]:
        _forget_rows(ws, before)
    shutil.rmtree(before, ignore_errors=True)


def _forget_rows(ws: Workspace, folder: Path) -> None:
    """Remove the rows in Redis of the release in `folder`; SQLite's go with it."""
    old = _read(folder / APPLIED)
    if old and old["online_store"] == "redis" and old["connection"] == release(ws)["connection"]:
        run(ws, "teardown", folder=folder)


def serving(ws: Workspace) -> Path:
    """The folder whose rows are online: feast/, or what it replaces until it is materialized."""
    feast, before = ws.path("feast"), ws.path(BEFORE)
    return before if not (feast / MATERIALIZED).exists() and (before / MATERIALIZED).exists() else feast


def take_pushes(ws: Workspace) -> list[Path]:
    """The folders whose rows a push adds to: of the release that answers, and of the one that is to follow it.

    Raises:
        Missing: if there is none of today's feature_repo/ and online store.
    """
    wanted = release(ws)
    alike = [name for name in wanted if name != "project"]  # built anew, it is another project with the same columns
    found = []
    for folder in dict.fromkeys([ws.path("feast"), serving(ws)]):
        applied = _read(folder / APPLIED)
        if applied and all(applied[name] == wanted[name] for name in alike):
            found.append(folder)
    if not found:
        require_applied(ws)
    return found


def online(ws: Workspace) -> dict[str, Any] | None:
    """materialized.json of the folder that serves, None if the online store was never filled."""
    return _read(serving(ws) / MATERIALIZED)


def materialized(ws: Workspace, folder: Path | None = None) -> dict[str, Any]:
    """What is online, by materialized.json of the folder that serves, or of another of the workspace.

    Raises:
        Missing: if the online store was never filled, or by another version.
    """
    remedy = tables.remedy(ws, "features materialize")
    found = _read(folder / MATERIALIZED) if folder else online(ws)
    if found is None:
        raise Missing("the online store is empty", remedy)
    if UNTIL not in found:
        raise Missing("the online store was filled by another version", remedy)
    return found


def forget(ws: Workspace) -> None:
    """Remove the workspace's rows from Redis, if that is where they are; SQLite's go with the folder."""
    redis = settings.redis_connection()
    for folder in (ws.path("feast"), ws.path(BEFORE)):
        old = _read(folder / APPLIED)
        if not old or old["online_store"] != "redis":
            continue
        if redis is None or connection_digest(redis) != old["connection"]:
            say(f"the rows of {old['project']} stay in a Redis that LLMCF_REDIS does not name")
            continue
        with locked(ws):
            run(ws, "teardown", folder=folder)
            for name in (MATERIALIZED, APPLIED):
                (folder / name).unlink(missing_ok=True)


def run(ws: Workspace, *job: str, folder: Path | None = None) -> None:
    """Run one job of the worker in the workspace's feast/, or another such folder.

    Raises:
        LlmcfError: with the end of what it printed, if it fails; without the credential of LLMCF_REDIS.
    """
    redis = settings.redis_connection()
    if redis and job[0] != "join":  # which reads files only
        redis_address.require(redis)
    command = [sys.executable, "-m", "llmcf.feature_store.worker", *job]
    with (
        tempfile.TemporaryFile("w+", encoding="utf-8") as errors,
        subprocess.Popen(
            command, cwd=folder or ws.path("feast"), stdout=subprocess.PIPE, stderr=errors, text=True
        ) as process,
    ):
        assert process.stdout
        for line in process.stdout:
            say(f"feast: {line.rstrip()}")
        if process.wait() != 0:
            errors.seek(0)
            words = _last_words(errors.read())
            if storage.last_says_full(words):
                raise storage.no_space(f"Feast's {job[0]} writes beside {ws.root}")
            raise LlmcfError(redis_address.scrub(f"Feast's {job[0]} failed:\n{words}", redis))


def _last_words(log: str) -> str:
    """The last lines that say something: at exit DuckDB's bindings report objects that torch kept alive."""
    lines = [line for line in log.splitlines() if line.strip() and not line.startswith((" - ", "nanobind", "See "))]
    return "\n".join(lines[-5:])


def _repo_files() -> list[Path]:
    return sorted(path for path in REPO.iterdir() if path.suffix in {".py", ".yaml"})
