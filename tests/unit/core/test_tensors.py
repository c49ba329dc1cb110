"""The same tensors and metadata are the same bytes."""

from pathlib import Path

import numpy as np
from safetensors import safe_open
from safetensors.numpy import save_file

from core import tensors

TENSORS = {"weight": np.arange(6, dtype=np.float32).reshape(2, 3), "rows": np.arange(4)}
METADATA = {f"name {number}": f'Käse \u2028 "{number}" \\ \n' for number in range(12)}


def test_they_are_the_same_bytes_however_often_they_are_written(tmp_path: Path) -> None:
    found = set()
    for number in range(6):
        path = tmp_path / f"{number}.safetensors"
        save_file(TENSORS, path, metadata=METADATA)
        tensors.order_metadata(path)
        found.add(path.read_bytes())
    assert len(found) == 1


def test_what_is_read_is_what_was_written(tmp_path: Path) -> None:
    path = tmp_path / "one.safetensors"
    save_file(TENSORS, path, metadata=METADATA)
    before = path.stat().st_size
    tensors.order_metadata(path)
    assert path.stat().st_size == before
    with safe_open(path, framework="np") as stored:
        assert stored.metadata() == METADATA
        for name, values in TENSORS.items():
            np.testing.assert_array_equal(stored.get_tensor(name), values)
