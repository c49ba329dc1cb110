"""What deploy/ says is true of the program: commands parse, variables exist, and nothing is open or runs as root."""

import re
import shlex
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from llmcf import reference
from llmcf.serving import triton_server
from tests.meta.test_layout import PACKAGES, PROJECT
from tests.meta.test_remedies import parse

DEPLOY = PROJECT / "deploy"
UNIT = (DEPLOY / "llmcf-serve@.service").read_text(encoding="utf-8")
CONTAINER = (DEPLOY / "Containerfile").read_text(encoding="utf-8").replace("\\\n", " ")
COMPOSE: dict[str, Any] = yaml.safe_load((DEPLOY / "compose.yaml").read_text(encoding="utf-8"))
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
VARIABLES = {row[0].strip("`") for row in reference.variables()}


def told(name: str) -> list[str]:
    """The values of a setting of the unit."""
    return re.findall(rf"^{name}=(.*)$", UNIT, flags=re.MULTILINE)


def container(instruction: str) -> list[str]:
    return re.findall(rf"^{instruction} (.*)$", CONTAINER, flags=re.MULTILINE)


def test_the_unit_starts_a_service_as_the_command_takes_it() -> None:
    values = dict(one.split("=", 1) for line in told("Environment") for one in line.split())
    (line,) = told("ExecStart")
    line = re.sub(r"\$\{(\w+)\}", lambda found: values[found[1]], line).replace("%i", "shop")
    program, *words = shlex.split(line)
    assert program == "/opt/llmcf/.venv/bin/llmcf"
    parse(shlex.join(["llmcf", *words]))
    assert words[words.index("--host") + 1] == "127.0.0.1"
    assert told("User") == ["llmcf"]
    assert told("ProtectSystem") == ["strict"]
    assert int(told("TimeoutStopSec")[0]) > triton_server._STOP_S * 2
    places = [one for name, one in values.items() if name.startswith("LLMCF_") and name != "LLMCF_ENVS"]
    assert all(one.startswith(f"/var/lib/{told('StateDirectory')[0]}/") for one in places), "all that is written"


def test_systemd_takes_the_unit(tmp_path: Path) -> None:
    unit = tmp_path / "llmcf-serve@shop.service"
    unit.write_text(re.sub(r"/opt/llmcf/.venv/bin/llmcf", "/bin/true", UNIT), encoding="utf-8")
    if shutil.which("systemd-analyze"):
        done = subprocess.run(["systemd-analyze", "verify", str(unit)], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        assert "llmcf-serve" not in done.stderr, done.stderr
    for name in set(re.findall(r"^(\w+)=", UNIT, flags=re.MULTILINE)):
        assert re.fullmatch(r"[A-Z]\w+", name), name


def test_the_image_has_all_that_serving_needs_and_no_root() -> None:
    copied = {word.rstrip("/") for line in container("COPY") for word in line.split()[:-1]}
    assert set(PACKAGES) | {"feature_repo", "triton_models", "requirements"} <= copied
    assert all((PROJECT / one).exists() for one in copied)
    assert CONTAINER.index("USER llmcf") < CONTAINER.index("ENTRYPOINT")
    assert container("USER") == ["llmcf"]
    command = yaml.safe_load(container("CMD")[0])
    parse(shlex.join(["llmcf", *command]))
    assert command[command.index("--host") + 1] == "127.0.0.1"
    for lock in re.findall(r"build.sh (\w+)", CONTAINER):
        assert (PROJECT / "requirements" / f"{lock}.lock.txt").exists()


def test_the_composed_services_are_on_loopback_and_without_rights() -> None:
    parse(shlex.join(["llmcf", *SERVICES["llmcf"]["command"]]))
    for name, one in SERVICES.items():
        assert all(str(port).startswith("127.0.0.1:") for port in one.get("ports", ())), name
        assert "no-new-privileges:true" in one["security_opt"], name
        assert not one.get("privileged"), name
        if name != "milvus":
            assert one["read_only"], name
            assert one["cap_drop"] == ["ALL"], name
        if one.get("network_mode") == "host":
            assert "127.0.0.1" in str(one["command"]), name
            assert "0.0.0.0" not in str(one["command"]), name
    assert set(COMPOSE["volumes"]) == {one.split(":")[0] for each in SERVICES.values() for one in each["volumes"]} - {
        "${TRITON_MODELS"
    }


def test_triton_is_told_what_our_own_is() -> None:
    source = Path(triton_server.__file__).read_text(encoding="utf-8")
    ours = set(re.findall(r"--[a-z-]+", source)) | {f"--{name}-address" for name in ("http", "grpc", "metrics")}
    options = {one.split("=")[0] for one in SERVICES["triton"]["command"][1:]}
    assert options <= ours
    assert {"--model-control-mode", "--disable-auto-complete-config"} <= options


@pytest.mark.parametrize("path", sorted(DEPLOY.glob("*")), ids=lambda path: path.name)
def test_variables_are_ours_and_no_secret_is_in_a_file(path: Path) -> None:
    if path.is_dir():
        return
    text = path.read_text(encoding="utf-8")
    assert not set(re.findall(r"\bLLMCF_[A-Z_]+\b", text)) - VARIABLES
    given = re.findall(r"\b(LLMCF_(?:REDIS|MILVUS_TOKEN|LLM_KEY))\s*[=:]\s*\S", text)
    assert not given
