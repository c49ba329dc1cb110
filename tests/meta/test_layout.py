"""The rules of ARCHITECTURE.md that the import linter cannot see."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parents[2]
LARGEST = 2 << 20  # bytes of a tracked file
PACKAGES = ("core", "ict", "llm", "ranking", "retrieval_stage", "llmcf")
PLAIN = {
    "dags": {"airflow", "openlineage", "pendulum"},
    "feature_repo": {"feast", "pandas", "numpy"},
    "triton_models": {"numpy", "onnxruntime", "triton_python_backend_utils"},
}


TRAVELLING = {"triton_models": {"nearest", "shown"}}  # of ict/, copied beside: tests/unit/ict/test_shown.py


def imports(path: Path) -> set[str]:
    """Top-level names that a file imports, anywhere in it."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            names.add(node.module.split(".")[0])
    return names


def sources(folder: str) -> list[Path]:
    return [path for path in (PROJECT / folder).rglob("*.py") if not any(part.isdigit() for part in path.parts)]


@pytest.mark.parametrize("folder", PLAIN)
def test_a_deployable_folder_imports_only_its_platform_and_itself(folder: str) -> None:
    files = sources(folder)
    assert files, f"{folder} holds no code"
    own = {path.stem for path in files} | TRAVELLING.get(folder, set())
    for path in files:
        foreign = imports(path) - PLAIN[folder] - set(sys.stdlib_module_names) - own
        assert not foreign, f"{path.relative_to(PROJECT)} imports {sorted(foreign)}"
        assert not (PROJECT / folder / "__init__.py").exists()


def test_an_example_of_a_service_without_llmcf_imports_none_of_it() -> None:
    found = imports(PROJECT / "examples" / "score_without_llmcf.py") - set(sys.stdlib_module_names)
    assert found == {"feast", "numpy", "tritonclient"}


def test_no_package_imports_a_deployable_folder() -> None:
    for package in PACKAGES:
        for path in sources(package):
            assert not imports(path) & {"dags", "feature_repo", "triton_models"}, path


def test_the_environment_is_read_in_one_place() -> None:
    """core.settings turns variables into values; elsewhere os.environ is only handed on to child processes."""
    reading = re.compile(r"os\.environ(\.get\(|\[)\s*[\"']LLMCF_|os\.getenv\(")
    for package in PACKAGES:
        for path in sources(package):
            if path != PROJECT / "core" / "settings.py":
                assert not reading.search(path.read_text(encoding="utf-8")), path


def test_no_pickle_eval_or_exec() -> None:
    for package in (*PACKAGES, "benchmarks", *PLAIN):
        for path in sources(package):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                    assert node.func.id not in {"eval", "exec"}, f"{path}:{node.lineno}"
            assert not imports(path) & {"pickle", "cloudpickle", "joblib", "dill"}, path


def test_every_skip_names_its_reason() -> None:
    bare = re.compile(r"pytest\.skip\(\)|mark\.skip\b(?!\()|mark\.xfail\b(?!\()")
    for path in (PROJECT / "tests").rglob("test_*.py"):
        if path != Path(__file__):
            assert not bare.search(path.read_text(encoding="utf-8")), path


def test_locks_name_packages_never_where_they_come_from() -> None:
    for lock in (PROJECT / "requirements").glob("*.txt"):
        text = lock.read_text(encoding="utf-8")
        assert not re.search(r"://|--index|--find-links|--trusted", text), lock


def test_nothing_large_is_tracked() -> None:
    """Data, models and profiles of a run do not belong here; a pack of texts is the largest thing that does."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=PROJECT, capture_output=True, text=True, check=False)
    if listed.returncode:
        pytest.skip("no git, or no repository: nothing says what is tracked")
    tracked = [PROJECT / name for name in listed.stdout.split("\0") if name]
    assert [path.name for path in tracked if path.is_file() and path.stat().st_size > LARGEST] == []
    assert not [path.name for path in tracked if path.parent == PROJECT and path.suffix in {".json", ".log", ".svg"}]
