"""The GPU benchmark in small, on whatever there is, out of the few packages that it asks for."""

import subprocess
import sys

BARE = """
import runpy, sys
sys.argv = ["benchmarks.gpu", "--tiny"]
runpy.run_module("benchmarks.gpu", run_name="__main__")
print(sorted({name.split(".")[0] for name in sys.modules} & {"torchrec", "fbgemm_gpu", "pyarrow"}))
"""


def test_it_runs_with_few_packages_and_says_all_its_figures() -> None:
    done = subprocess.run([sys.executable, "-c", BARE], capture_output=True, text=True, check=True)
    *page, imported = done.stdout.splitlines()
    assert imported == "[]"
    rows = {line.split("|")[1].strip(): line.split("|")[2:-1] for line in page if line.startswith("| ")}
    assert {"tiny", "in-context module", "deepfm", "xdeepfm", "autoint", "dcn", "dcnv2"} <= set(rows)
    assert all(float(figure) > 0 for name in ("in-context module", "deepfm") for figure in rows[name])
    assert float(rows["tiny"][1].replace(",", "")) > 0
