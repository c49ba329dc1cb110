"""Triton Python-backend model: P(click) of items for a user, from raw ids and what Feast gives.

`llmcf export` copies this file as `model.py` into the version folder of `score`, with the search for in-context
examples beside it (ict/nearest.py, ict/shown.py), the raw ids and the examples of the release. The graph is that of the
ranker's folder, run here: one process answers, so no request is torn where a release goes, and nothing is sent twice.

Suffixes: N items, M examples + 1, V items of the release, L history length, E width of a text vector, K examples.
"""

import json
from bisect import bisect_left
from functools import lru_cache
from pathlib import Path

import nearest
import numpy as np
import onnxruntime
import shown
import triton_python_backend_utils as pb_utils

UNKNOWN = shown.UNKNOWN
ROWS = 1024  # of one run of the graph: more items are scored in several
NEEDED = ("history", "activity", "day")  # where scores are asked for
INTEGERS = frozenset({"history", "day", "brand", "categories"})
_DTYPES = {"tensor(int64)": np.int64, "tensor(float)": np.float32}
_STORED = {"U8": np.uint8, "I64": np.int64, "F32": np.float32}
_IDS_KEPT = 65_536
Feed = dict[str, np.ndarray]


class TritonPythonModel:
    """The class Triton's Python backend looks for."""

    def initialize(self, args: dict[str, str]) -> None:
        del args  # what there is to know lies beside this file
        here = Path(__file__).parent  # not resolved: the path that Triton is shown is plain, the real one may not be
        self.facts = json.loads((here / "score.json").read_text(encoding="utf-8"))
        self.session = _session(here / self.facts["graph"])
        self.reads = {one.name: (one.shape[1:], _DTYPES[one.type]) for one in self.session.get_inputs()}
        ids = read_tensors(here / "ids.safetensors")
        self.users, self.items = (Ids(ids, kind) for kind in ("user", "item"))
        self.showing = _showing(here, self.facts) if (here / "examples.safetensors").exists() else None

    def execute(self, requests: list) -> list:
        """One response a request, in order; a wrong request gets an error of its own."""
        return [self._answer(request) for request in requests]

    def _answer(self, request: object) -> object:
        try:
            asked = _inputs(request)
            user = self.users.row(asked["user_id"].reshape(-1)[0])
            item_N = np.array([self.items.row(one) for one in asked["item_id"].reshape(-1)], dtype=np.int64)
            found = {"user": np.array([user]), "item": item_N}
            wanted = set(request.requested_output_names())
            if "score" in wanted:
                found["score"] = self._score(user, item_N, asked)
        except Exception as error:  # ONNX Runtime's errors share no narrower base
            return pb_utils.InferenceResponse([], error=pb_utils.TritonError(str(error)))
        return pb_utils.InferenceResponse([pb_utils.Tensor(name, found[name]) for name in found if name in wanted])

    def _score(self, user: int, item_N: np.ndarray, asked: Feed) -> np.ndarray:
        """P(click) of each item, (N,)."""
        self._check(asked, len(item_N))
        history_L = asked["history"].reshape(-1)
        who = shown.Who(
            user=user if user < self.facts["users_end"] else UNKNOWN,
            position=round(float(np.expm1(float(asked["activity"].reshape(-1)[0])))),
            day=int(asked["day"].reshape(-1)[0]),
            history_L=np.where(history_L < self.facts["items_end"], history_L, UNKNOWN),
        )
        feed = self._facts_of(item_N, asked) | self._examples(who, item_N, asked)
        feed |= {"user": np.full(len(item_N), who.user), "item": item_N}
        feed["history"] = np.tile(who.history_L, (len(item_N), 1))  # the graph takes what it reads of all that
        parts = [np.empty(0, dtype=np.float32)]
        for start in range(0, len(item_N), ROWS):
            part = {
                name: np.ascontiguousarray(feed[name][start : start + ROWS], dtype)
                for name, (_, dtype) in self.reads.items()
            }
            parts.append(self.session.run(["score"], part)[0])
        return np.concatenate(parts)

    def _check(self, asked: Feed, count: int) -> None:
        needed = [*NEEDED, *(["dense"] if "dense" in self.reads else [])]
        if lacking := [name for name in needed if name not in asked]:
            raise ValueError(f"input {', '.join(map(repr, lacking))} is missing: this release scores by it")
        for name, values in asked.items():
            if name in ("user_id", "item_id"):
                continue
            if name not in NEEDED and len(values) != count:
                raise ValueError(f"input {name!r} has {len(values)} rows for {count} items")
            if name in INTEGERS and values.size and values.min() < 0:
                raise ValueError(f"input {name!r} holds {values.min()}: ids and days are not negative")
            if name not in INTEGERS and not np.isfinite(values).all():
                raise ValueError(f"input {name!r} holds a value that is not finite")

    def _facts_of(self, item_N: np.ndarray, asked: Feed) -> Feed:
        """What the graph reads of items: what the request says of those that the release does not have, else zeros."""
        feed = {}
        for name in ("brand", "categories", "text", "dense"):
            if name not in self.reads:
                continue
            shape, dtype = self.reads[name]
            given_NX = asked.get(name, np.zeros((len(item_N), *shape), dtype))
            if given_NX.shape[1:] != tuple(shape):
                raise ValueError(f"input {name!r} is {given_NX.shape[1:]} wide, and this release reads {tuple(shape)}")
            if name != "dense":
                own_N = (item_N == UNKNOWN).reshape(-1, *(1 for _ in shape))
                given_NX = np.where(own_N, given_NX, np.zeros((), dtype))
            feed[name] = given_NX
        return feed

    def _examples(self, who: "shown.Who", item_N: np.ndarray, asked: Feed) -> Feed:
        """The in-context examples of each item, where the graph reads them."""
        if "examples" not in self.reads:
            return {}
        assert self.showing is not None, "a graph that reads examples has some"
        known_N = item_N != UNKNOWN
        found = self.showing.of_items(who, item_N[known_N])
        if not known_N.all():
            text_NE = asked.get("text", np.zeros((len(item_N), self.facts["text_width"]), np.float32))
            found = found.interleaved(self.showing.of_texts(who, text_NE[~known_N]), known_N)
        return {"examples": found.examples_CK, "similarity": found.similarity_CK}


class Ids:
    """Raw ids to rows of the release's vocabulary: UTF-8, sorted, looked up where they lie on the disk."""

    def __init__(self, stored: Feed, kind: str) -> None:
        self._text = stored[f"{kind}_text"]
        self._ends, self._rows = stored[f"{kind}_ends"], stored[f"{kind}_rows"]
        self._known = lru_cache(_IDS_KEPT)(self._find)  # an id that is not there is not kept, however long

    def row(self, raw_id: bytes) -> int:
        """UNKNOWN for an id that the release does not have."""
        try:
            return self._known(raw_id)
        except KeyError:
            return UNKNOWN

    def _find(self, raw_id: bytes) -> int:
        place = bisect_left(range(len(self._rows)), raw_id, key=self._id)
        if place == len(self._rows) or self._id(place) != raw_id:
            raise KeyError(raw_id)
        return int(self._rows[place])

    def _id(self, place: int) -> bytes:
        start = int(self._ends[place - 1]) if place else 0
        return self._text[start : int(self._ends[place])].tobytes()


def read_tensors(path: Path) -> Feed:
    """The tensors of a safetensors file, mapped into memory: what several processes read is there once."""
    with path.open("rb") as file:
        size = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(size))
    found, data = {}, np.empty(0, dtype=np.uint8)
    if path.stat().st_size > 8 + size:  # nothing cannot be mapped
        data = np.asarray(np.memmap(path, dtype=np.uint8, mode="r", offset=8 + size))
    for name, told in header.items():
        if name != "__metadata__":
            start, end = told["data_offsets"]
            found[name] = data[start:end].view(_STORED[told["dtype"]]).reshape(told["shape"])
    return found


def _session(path: Path) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def _showing(here: Path, facts: dict) -> "shown.Showing":
    """The search among the release's examples, by the ranker's recipe and seed."""
    stored, vectors_VE = read_tensors(here / "examples.safetensors"), read_tensors(here / "item_vectors.safetensors")
    grouped = shown.groups(stored["label_M"], constrained=facts["constrained"])
    facts["text_width"] = vectors_VE["item_vectors"].shape[1]
    return shown.Showing(
        search=nearest.NearestExamples(stored["key_MX"], stored["item_M"], vectors_VE["item_vectors"], grouped),
        user_M=stored["user_M"],
        position_M=stored["position_M"],
        day_M=stored["day_M"],
        recipe=facts["recipe"],
        seed=facts["seed"],
        per_group=facts["count"] // len(grouped),
    )


def _inputs(request: object) -> Feed:
    """The inputs that the request holds."""
    names = ("user_id", "item_id", *NEEDED, "dense", "brand", "categories", "text")
    found = {name: pb_utils.get_input_tensor_by_name(request, name) for name in names}
    return {name: tensor.as_numpy() for name, tensor in found.items() if tensor is not None}
