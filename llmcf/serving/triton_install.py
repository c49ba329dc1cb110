"""Finding, in the triton environment, what a Triton server needs to start.

The environment holds PyTriton, whose wheel carries the server, and the files of its Python backend in several
places.
"""

import ctypes.util
import json
import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from core import environments
from core.errors import LlmcfError, Missing

_GLIBC = (2, 35)
_QUESTION = """
import json, sysconfig
from importlib.metadata import version
names = ("LIBDIR", "MULTIARCH", "INSTSONAME", "py_version_short")
facts = {name: sysconfig.get_config_var(name) for name in names}
print(json.dumps({**facts, "packages": sysconfig.get_path("platlib"), "version": version("nvidia-pytriton")}))
"""


@dataclass(frozen=True, slots=True)
class Installation:
    """What `tritonserver` is started with; the files of `backend` must lie in one folder."""

    binary: Path
    backend: tuple[Path, ...]
    environment: dict[str, str]


def find() -> Installation:
    """The Triton of the triton environment, ready to start.

    Raises:
        LlmcfError: if the environment, or something it needs of the system, is missing; names the remedy.
    """
    _check_system()
    python = environments.python("triton")
    facts = _ask(python)
    packages = Path(facts["packages"])
    server = packages / "pytriton" / "tritonserver"
    libraries = [packages / "nvidia_pytriton.libs", _libpython_folder(facts)]
    environment = {
        **os.environ,
        "LD_LIBRARY_PATH": os.pathsep.join(map(str, libraries)),
        # The stub embeds Python, heeds no PYTHON* variable, and finds its packages by the first python3 on PATH.
        "PATH": os.pathsep.join([str(python.parent), os.environ.get("PATH", os.defpath)]),
    }
    return Installation(server / "bin" / "tritonserver", _backend(server, facts), environment)


def _check_system() -> None:
    """The binaries are for Linux with a recent glibc; `setpriv` ties the server's life to that of its starter."""
    library, _, release = (os.confstr("CS_GNU_LIBC_VERSION") or "").partition(" ")
    if library != "glibc" or tuple(map(int, release.split("."))) < _GLIBC:
        raise LlmcfError(f"Triton needs Linux with glibc 2.35 or newer, here is {library or 'no glibc'} {release}")
    if shutil.which("setpriv") is None:
        raise Missing("`setpriv` is missing", "apt-get install util-linux")


def _ask(python: Path) -> dict[str, str]:
    """Where the environment's interpreter keeps its libraries and packages, and PyTriton's version."""
    answer = subprocess.run([python, "-I", "-c", _QUESTION], capture_output=True, text=True, check=False)
    if answer.returncode != 0:
        last = (answer.stderr.strip().splitlines() or [f"exit code {answer.returncode}"])[-1]
        raise LlmcfError(f"the triton environment is damaged ({last}); remove its folder and run `make env-triton`")
    return json.loads(answer.stdout)


def _libpython_folder(facts: dict[str, str]) -> Path:
    """The folder of the shared libpython that the backend's stub is linked to."""
    name = f"libpython{facts['py_version_short']}.so.1.0"
    own = Path(facts["LIBDIR"])
    for folder in (own, own / (facts["MULTIARCH"] or ""), Path("/usr/lib") / (facts["MULTIARCH"] or "")):
        if (folder / name).exists():
            return folder
    if ctypes.util.find_library(f"python{facts['py_version_short']}"):
        return own  # the dynamic linker knows a place of its own
    package = f"libpython{facts['py_version_short']}"
    raise Missing(f"Triton's Python backend needs {name}", f"apt-get install {package}")


def _backend(server: Path, facts: dict[str, str]) -> tuple[Path, ...]:
    """The library, the utilities and this Python's stub, which the wheel keeps apart."""
    source = server / "backends" / "python"
    stub = server / "python_backend_stubs" / facts["py_version_short"] / "triton_python_backend_stub"
    return source / "libtriton_python.so", source / "triton_python_backend_utils.py", stub
