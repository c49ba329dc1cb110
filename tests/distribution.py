"""Which tests run one after the other on one of several workers: those of a file, and all that need a Milvus server.

There can be one such server at a time on a machine (tests/milvus_server.py): a worker that wants another would wait.
"""

import re
from functools import cache
from pathlib import Path

from xdist.scheduler import LoadFileScheduling

_SERVER = re.compile(r"\b(each_milvus|milvus_server)\b")
_TOGETHER = "what needs a Milvus server"
_ROOT = Path(__file__).parents[1]


class ByFile(LoadFileScheduling):
    """By file as `--dist=loadfile` does it, but for those files."""

    def _split_scope(self, nodeid: str) -> str:
        return scope(super()._split_scope(nodeid))


@cache
def scope(file: str) -> str:
    """What a test file is run together with, itself if nothing else; files are relative to the project."""
    return _TOGETHER if _SERVER.search((_ROOT / file).read_text(encoding="utf-8")) else file
