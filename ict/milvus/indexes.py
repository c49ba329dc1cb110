"""Index types of the vectors that are searched. Each works on Milvus Lite and on a Milvus server.

FLAT compares with every row and is exact; it answers up to some hundred thousand rows well enough. IVF_FLAT looks into
the nearest cells and HNSW walks a graph; how much of the exact answer they find is measured before a version goes live.
Every search of examples is under a filter of time and label. Cells take one well; a graph may lose its way among rows
that a filter leaves out, on Milvus 2.3 so badly that verification refuses it. The figures behind the defaults are in
`benchmarks/results/index.md`. A Milvus builds an index a segment, so the numbers do not grow with the rows.
"""

from dataclasses import asdict, dataclass
from typing import Any

from core.errors import UsageError, check_choice

FLAT, HNSW, IVF_FLAT = KINDS = ("FLAT", "HNSW", "IVF_FLAT")
AUTO = "auto"
METRIC = "IP"  # of unit vectors: their cosine
_EXACT_UP_TO = 100_000  # rows
_RECALL = {FLAT: 0.99, HNSW: 0.97, IVF_FLAT: 0.97}


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexConfig:
    """How the vectors that are searched are indexed; numbers of other kinds than `kind` play no part.

    Args:
        kind: one of KINDS.
        m: HNSW: links a node.
        ef_construction: HNSW: candidates looked at for each row that is added.
        ef: HNSW: candidates a search looks at; more find more, and take longer. At least as many as are asked for.
        nlist: IVF_FLAT: cells.
        nprobe: IVF_FLAT: cells a search looks into.

    Raises:
        UsageError: for a kind that is none, or a number out of range.
    """

    kind: str = FLAT
    m: int = 16
    ef_construction: int = 200
    ef: int = 512
    nlist: int = 512
    nprobe: int = 128

    def __post_init__(self) -> None:
        check_choice("index type", self.kind, KINDS)
        for name, (least, most) in _RANGES.items():
            if not least <= getattr(self, name) <= most:
                raise UsageError(f"{name} {getattr(self, name)} of an index is not between {least} and {most}")
        if self.nprobe > self.nlist:
            raise UsageError(f"nprobe {self.nprobe} of an index is above its {self.nlist} cells")

    @classmethod
    def named(cls, kind: str, rows: int) -> "IndexConfig":
        """The one of that name, any case; "auto" is FLAT, or IVF_FLAT for more than a hundred thousand rows."""
        if kind == AUTO:
            return cls(kind=FLAT if rows <= _EXACT_UP_TO else IVF_FLAT)
        check_choice("index type", kind.upper(), [AUTO, *KINDS])
        return cls(kind=kind.upper())

    @property
    def exact(self) -> bool:
        return self.kind == FLAT

    @property
    def recall_floor(self) -> float:
        """What a version must find of the exact answer to go live."""
        return _RECALL[self.kind]

    def build_params(self) -> dict[str, int]:
        return self._as_milvus_says(_BUILD)

    def search_params(self, k: int) -> dict[str, int]:
        """For a search of `k` rows."""
        params = self._as_milvus_says(_SEARCH)
        return params | {"ef": max(params["ef"], k)} if "ef" in params else params

    def as_json(self) -> dict[str, Any]:
        """The kind and the numbers that play a part."""
        return {"kind": self.kind, **{name: getattr(self, name) for name in (*_BUILD[self.kind], *_SEARCH[self.kind])}}

    @classmethod
    def of(cls, told: dict[str, Any]) -> "IndexConfig":
        """What `as_json` told, by any version of this module."""
        known = asdict(cls())
        return cls(**{name: value for name, value in told.items() if name in known})

    def _as_milvus_says(self, names: dict[str, dict[str, str]]) -> dict[str, int]:
        return {theirs: getattr(self, ours) for ours, theirs in names[self.kind].items()}


_BUILD = {FLAT: {}, HNSW: {"m": "M", "ef_construction": "efConstruction"}, IVF_FLAT: {"nlist": "nlist"}}
_SEARCH = {FLAT: {}, HNSW: {"ef": "ef"}, IVF_FLAT: {"nprobe": "nprobe"}}
_RANGES = {  # those of the server
    "m": (2, 2048),
    "ef_construction": (1, 32_768),
    "ef": (1, 32_768),
    "nlist": (1, 65_536),
    "nprobe": (1, 65_536),
}
