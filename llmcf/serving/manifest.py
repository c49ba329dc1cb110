"""What a release says of itself: enough to serve it, whatever lies in its workspace by then.

A release folder is `<repository>/releases/<data set>/<number>/`: `release.json`, the catalogue's names, the trained
weights that a refresh freezes anew, and `models/`, which is a Triton model repository of its own.
"""

from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Self

from core import settings, storage
from core.contracts import CONTRACT, SCORE, TRITON_MODELS, Tensor
from core.data import tables
from core.errors import LlmcfError, Missing
from core.settings import Workspace

FILE = "release.json"
MODELS = "models"
CATALOGUE = "catalogue.parquet"
TRAINED = "trained"
WEIGHTS = "model.safetensors"  # of a run of either stage
TEXT_MAP = f"{TRAINED}/text_map.safetensors"
ITEM_VECTORS = "item_vectors"  # the tensor of that name in the file that holds them
POPULAR = "popular items"  # what users without history are shown
POPULAR_UNMEASURED = "popular items, where the tower's run was measured with its own answer to an empty history"


class Unreadable(LlmcfError):  # noqa: N818 - reads better where it is raised
    """A release that cannot be served from here.

    Args:
        what: what is the matter and what to do, as a sentence; `why` says it in two words, for lists.
    """

    def __init__(self, what: str, why: str) -> None:
        super().__init__(what, why)
        self.why = why

    def __str__(self) -> str:
        return self.args[0]


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """One graph of a release.

    Args:
        version: Triton's, exactly the one to ask for.
        inputs: what the graph reads, and no more; `outputs` what it answers.
        run: digest of the trained run's weights, `WEIGHTS` in its folder; `metrics` what that run measured.
        sha256: of the files of its version folder.
    """

    framework: str
    backbone: str
    recipe: str
    seed: int
    version: int
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    run: str
    metrics: dict[str, Any] = field(default_factory=dict)
    sha256: dict[str, str] = field(default_factory=dict)

    @property
    def run_name(self) -> str:
        """The folder's of the trained run."""
        return f"{self.backbone}-{self.framework}-{self.recipe}-s{self.seed}"

    @property
    def reads(self) -> frozenset[str]:
        """Names of the inputs."""
        return frozenset(tensor.name for tensor in self.inputs)

    @classmethod
    def of(cls, value: dict[str, Any]) -> Self:
        tensors = {name: _tensors(value[name]) for name in ("inputs", "outputs")}
        return cls(**{**value, **tensors})


@dataclass(frozen=True, slots=True, kw_only=True)
class Release:
    """All that serving needs to know. Paths are relative to the release's folder.

    Args:
        source: digest of all that it was made from.
        home: identity of the LLMCF_HOME whose Milvus and Feast it reads.
        users_end, items_end: the first vocabulary rows that its graphs do not know: later ones are UNKNOWN to them.
        collections: the Milvus versions that its numbers mean, by kind (cot, items).
        item_vectors: the file with the items' text vectors, which examples are found by; "" where no graph reads them.
        encoder: what made the items' text vectors and the examples', which graphs or their tables read; "" for none.
        knowledge_encoder: what made those of KAR's texts.
        features: the Feast project and the digest of feature_repo/ when it was made; loading compares the digest.
        refreshed: number of the release whose trained weights it froze anew; None for trained runs.
        blend: weights of the evidence that item search adds to the tower's score, by its name, as validation chose
            them; none where the tower alone is searched by. `text` and `unseen`, what items get that training has
            not seen, lie in the vectors, `graph` in a file.
        evidence: the files that item search reads beside the collection, each with its digest.
        strangers: what users without history are shown, and whether the tower's run was measured so.
        score: digests of the files of the model `score`; none in a release that was made before there was one.
        inputs: digests of the folders that it was made of beside the runs, by name from LLMCF_HOME.
    """

    number: int
    source: str
    home: str
    dataset: str
    order: str
    as_of: str
    stages: dict[str, Stage]
    users_end: int
    items_end: int
    collections: dict[str, str]
    item_vectors: str
    features: dict[str, Any]
    created: str
    encoder: str = ""
    knowledge_encoder: str = ""
    refreshed: int | None = None
    blend: dict[str, float] = field(default_factory=dict)
    evidence: dict[str, str] = field(default_factory=dict)
    strangers: str = POPULAR
    score: dict[str, str] = field(default_factory=dict)
    inputs: dict[str, str] = field(default_factory=dict)
    contract: int = CONTRACT

    @property
    def workspace(self) -> Workspace:
        return Workspace(self.dataset, self.order, self.as_of)

    @property
    def folder(self) -> Path:
        return folder(self.dataset, self.number)

    @property
    def models(self) -> Path:
        """A Triton model repository that holds this release and nothing else."""
        return self.folder / MODELS

    @property
    def versions(self) -> dict[str, int]:
        """Triton's version of each model."""
        graphs = {model: stage.version for model, stage in self.stages.items()}
        return {**graphs, SCORE: self.number} if self.score else graphs

    @property
    def searches_texts(self) -> bool:
        """Whether the vectors that item search compares are made of texts, too."""
        return bool(self.blend.get("text")) or TEXT_MAP in self.evidence

    @property
    def remedy(self) -> str:
        """The command that makes the like of it again."""
        if self.refreshed is not None:
            base = f"--dataset {self.dataset} --release {self.number}"  # whose weights they are; that one may be gone
            return f"llmcf release refresh {base} --order {self.order} --as-of {self.as_of}"
        ranker, tower = self.stages["ranker"], self.stages["user_vector"]
        words = {
            "ranker": ranker.backbone,
            "framework": ranker.framework,
            "recipe": ranker.recipe,
            "retriever": tower.backbone,
            "retriever-framework": tower.framework,
            "retriever-recipe": tower.recipe,
            "seed": ranker.seed,
        }
        options = " ".join(f"--{name} {value}" for name, value in words.items())
        return f"{tables.remedy(self.workspace, 'export')} {options}"

    def damaged(self) -> Path | None:
        """A file of its graphs or of its item search that is not as it was made, if there is one."""
        for path, digest in self._files():
            if not path.is_file() or storage.sha256(path) != digest:
                return path
        return None

    def _files(self) -> Iterator[tuple[Path, str]]:
        for model, stage in self.stages.items():
            place = self.models / model / str(stage.version)
            yield from ((place / name, digest) for name, digest in stage.sha256.items())
        yield from ((self.folder / name, digest) for name, digest in self.evidence.items())
        place = self.models / SCORE / str(self.number)
        yield from ((place / name, digest) for name, digest in self.score.items())

    def require_whole(self) -> None:
        """Raises Missing if one is damaged, naming it: a canary's two answers would come from the same bad file."""
        if path := self.damaged():
            raise Missing(f"{path} is not as it was made", self.remedy)

    def write(self, place: Path) -> None:
        storage.write_json(place / FILE, asdict(self))

    @classmethod
    def read(cls, place: Path) -> "Release":
        """Raises Unreadable if the manifest is of another contract, or none, or not there."""
        try:
            value = storage.read_json(place / FILE)
            if value["contract"] != CONTRACT:
                raise Unreadable(
                    f"{place} keeps to contract {value['contract']}, and {CONTRACT} is served here; "
                    f"`llmcf export --dataset {place.parent.name}` makes a new one",
                    f"contract {value['contract']}",
                )
            stages = {model: Stage.of(value["stages"][model]) for model in TRITON_MODELS}
            return cls(**{**value, "stages": stages})
        except OSError as error:
            raise Unreadable(f"{error.filename} cannot be read ({error.strerror}); remove {place}", FILE) from error
        except (KeyError, TypeError, ValueError) as error:
            what = f"{place / FILE} is no manifest of a release ({error!r}); remove {place}"
            raise Unreadable(what, "no manifest") from error


@dataclass(frozen=True, slots=True)
class Claim:
    """What a release needs of its home: the names of Milvus collections, and the workspace, None if it cannot be told.

    Every contract says it in the same words, so that what an older or a newer release needs is not removed.
    """

    number: int
    workspace: Workspace | None
    collections: frozenset[str] = frozenset()

    @classmethod
    def read(cls, place: Path, number: int | None = None) -> "Claim":
        """Of the folder of a release; its name is the number where none is given."""
        number = int(place.name) if number is None else number
        try:
            value = storage.read_json(place / FILE)
            ws = Workspace(value["dataset"], value["order"], value["as_of"])
            return cls(number, ws, frozenset(value["collections"].values()))
        except (AttributeError, KeyError, TypeError, ValueError, OSError, LlmcfError):
            return cls(number, None)


def root(dataset: str) -> Path:
    """Where the releases of a data set lie."""
    return settings.triton_models() / "releases" / dataset


def folder(dataset: str, number: int) -> Path:
    return root(dataset) / str(number)


def _tensors(values: list[dict[str, Any]]) -> tuple[Tensor, ...]:
    return tuple(Tensor(**{**value, "shape": tuple(value["shape"])}) for value in values)
