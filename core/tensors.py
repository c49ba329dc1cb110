"""Files of tensors: the same content has the same bytes, so that digests tell what has changed."""

import json
import struct
from pathlib import Path

_LENGTH = struct.Struct("<Q")


def order_metadata(path: Path) -> None:
    """Put the metadata of a safetensors file into the order of their names; the library writes them in any order.

    The header keeps its length (https://huggingface.co/docs/safetensors, "Format"), so no tensor moves.
    """
    with path.open("r+b") as stream:
        (length,) = _LENGTH.unpack(stream.read(_LENGTH.size))
        header = json.loads(stream.read(length))
        header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
        ordered = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
        assert len(ordered) <= length, "it is the same, in another order"
        stream.seek(_LENGTH.size)
        stream.write(ordered.ljust(length))
