"""The `llmcf` command, from its first line on; `python -m llmcf` is the same."""

import sys

from core import memory

_TRAIN = ("rank", "retrieve", "recgen", "backfill")


def main() -> None:
    """Run the command line; what trains is started anew with an allocator that suits it, before anything is loaded."""
    if sys.argv[1:2] and sys.argv[1] in _TRAIN:
        memory.start_anew_without_cache()
    memory.collect_rarely()
    from llmcf.cli import main as run

    run()


if __name__ == "__main__":
    main()
