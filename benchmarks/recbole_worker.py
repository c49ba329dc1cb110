"""RecBole's side of `benchmarks.retrieval`: its own data set, loader, model and training loop, a turn at a time.

    .envs/recbole/bin/python -P benchmarks/recbole_worker.py FOLDER NAME SETTINGS THREADS

Runs in RecBole's environment and imports nothing of the project. FOLDER/NAME/NAME.inter holds the interactions,
SETTINGS is RecBole's configuration as JSON. One JSON object a line, everything else on stderr:
out: {"versions", "settings", "targets", "batches", "parameters"} once
in:  {"steps"}
out: {"seconds", "processor", "targets", "loss"} of that many steps: wall and processor seconds, the mean loss
"""

import json
import logging
import os
import sys
import time
from collections.abc import Iterator
from importlib.metadata import version
from itertools import islice
from typing import Any

LIBRARIES = ("recbole", "torch", "numpy", "pandas", "scipy")
SETTINGS = ("n_layers", "n_heads", "hidden_size", "inner_size", "MAX_ITEM_LIST_LENGTH", "train_batch_size")


def without_end(batches: Any) -> Iterator[Any]:
    """Batches of epoch after epoch, shuffled anew by each."""
    while True:
        yield from batches


def main() -> None:
    answers, sys.stdout = sys.stdout, sys.stderr  # what RecBole prints is no answer
    folder, name, settings, threads = sys.argv[1:]
    os.chdir(folder)  # RecBole leaves logs where it stands

    import torch
    from recbole.config import Config  # pyright: ignore[reportMissingImports] -- of another environment
    from recbole.data import create_dataset, data_preparation  # pyright: ignore[reportMissingImports]
    from recbole.model.sequential_recommender import SASRec  # pyright: ignore[reportMissingImports]
    from recbole.trainer import Trainer  # pyright: ignore[reportMissingImports]
    from recbole.utils import init_seed  # pyright: ignore[reportMissingImports]

    def answer(said: dict[str, Any]) -> None:
        print(json.dumps(said), file=answers, flush=True)

    logging.basicConfig(level=logging.WARNING)
    sys.argv = sys.argv[:1]  # RecBole reads the rest as options
    config = Config(model="SASRec", dataset=name, config_dict={"data_path": folder, **json.loads(settings)})
    init_seed(config["seed"], config["reproducibility"])
    torch.set_num_threads(int(threads))  # after RecBole, whose configuration sets none
    batches = data_preparation(config, create_dataset(config))[0]
    model = SASRec(config, batches.dataset).to(config["device"])
    trainer = Trainer(config, model)
    answer(
        {
            "versions": {library: version(library) for library in LIBRARIES},
            "settings": {name: config[name] for name in SETTINGS},
            "targets": len(batches.dataset),
            "batches": len(batches),
            "parameters": sum(weight.numel() for weight in model.parameters()),
        }
    )
    endless = without_end(batches)
    for line in sys.stdin:
        steps, targets = json.loads(line)["steps"], 0

        def counted(steps: int = steps) -> Iterator[Any]:
            nonlocal targets
            for batch in islice(endless, steps):
                targets += len(batch)
                yield batch

        start, used = time.perf_counter(), time.process_time()
        loss = trainer._train_epoch(counted(), 0)
        spent = {"seconds": time.perf_counter() - start, "processor": time.process_time() - used}
        answer({**spent, "targets": targets, "loss": loss / steps})


if __name__ == "__main__":
    main()
