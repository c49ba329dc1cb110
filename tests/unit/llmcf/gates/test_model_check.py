"""A model is held against the right one, on rows that neither may have read, and decided by figures alone."""

import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from core import steps, storage
from core.data import tables
from core.errors import LlmcfError, UsageError
from core.settings import Workspace
from llm import learnt, models, pins
from llm.pin import pin
from llm.pins import Pin
from llm.recgen import evaluate
from llm.recgen.evaluate import Evaluation
from llm.recgen.recipes import Size
from llmcf.gates import model_check
from llmcf.gates.deciding import Fault, decide
from llmcf.gates.model_check import Model, against, rows_for
from llmcf.serving.thresholds import LLM_GATES, Thresholds
from llmcf.serving.verdicts import Gate
from tests import tiny_llama
from tests.evaluations import evaluation, without_rows

LIMITS = Thresholds()
SMALL = Size(pairs=20, questions=0)
Stamped = Callable[..., Path]


def decided(
    ours: Evaluation | Fault, theirs: Evaluation | None, *, alike: bool = True, kind: str = "pinned"
) -> dict[str, Gate]:
    found = model_check._found(ours, theirs, alike=alike, mmlu="not asked for", limits=LIMITS, kind=kind)
    return {name: decide(name, found[name], LIMITS) for name in LLM_GATES}


def states(gates: dict[str, Gate]) -> list[str]:
    return [gates[name].state for name in ("llm_auc", "llm_nats", "llm_degenerate")]


def asked(one: Evaluation) -> Evaluation:
    """Without MMLU."""
    return replace(one, correct=[], subject=[])


def test_one_as_good_as_the_pinned_passes() -> None:
    gates = decided(asked(evaluation(2, pairs=200)), asked(evaluation(2, pairs=200)))
    assert states(gates) == ["passed"] * 3
    assert gates["llm_auc"].gap == 0
    assert gates["llm_auc"].reason.endswith("400 rows of 200 users")
    assert "pinned" in gates["llm_nats"].reason
    assert gates["llm_nats"].reason.endswith("20 held-out answers")
    assert (gates["llm_mmlu"].state, gates["llm_mmlu"].reason) == ("not applicable", "not asked for")


def test_a_first_one_is_held_against_the_untuned() -> None:
    gates = decided(asked(evaluation(2, pairs=200)), asked(evaluation(0, pairs=200)), kind="untuned")
    assert states(gates) == ["passed"] * 3
    assert ", untuned 0." in gates["llm_auc"].reason
    worse = decided(asked(evaluation(0.5, pairs=200)), asked(evaluation(3, pairs=200)), kind="untuned")
    assert worse["llm_auc"].state == "failed"
    assert "to the untuned model" in worse["llm_auc"].reason


def test_a_spoiled_one_fails_each_gate_that_shows_it() -> None:
    pinned = asked(evaluation(2, pairs=200))
    deaf = replace(pinned, p_yes=np.random.default_rng(3).random(400).tolist())
    assert states(decided(deaf, pinned)) == ["failed", "passed", "passed"]
    forgetful = replace(pinned, nats=[value + 0.2 for value in pinned.nats])
    assert states(decided(forgetful, pinned)) == ["passed", "failed", "passed"]
    assert decided(forgetful, pinned, alike=False)["llm_nats"].state == "passed", "another tokenizer's nats are others"
    stammering = replace(pinned, degenerate=[True] * 6 + [False] * 4)
    assert states(decided(stammering, pinned)) == ["passed", "passed", "failed"]


def test_where_no_row_is_common_the_bound_decides_on_auc_alone() -> None:
    ours, theirs = asked(evaluation(1, pairs=200)), without_rows(asked(evaluation(4, pairs=200)))
    gates = decided(ours, theirs)
    assert (gates["llm_auc"].state, gates["llm_auc"].live) == ("passed", None)
    assert gates["llm_nats"].live is not None
    assert decided(asked(evaluation(-1, pairs=200)), theirs)["llm_auc"].state == "failed"


def test_what_is_no_number_or_not_there_fails() -> None:
    pinned = asked(evaluation(2, pairs=200))
    for bad in (
        replace(pinned, p_yes=[float("nan"), *pinned.p_yes[1:]]),
        replace(pinned, nats=[*pinned.nats[1:], float("inf")]),
    ):
        gates = decided(bad, pinned)
        assert states(gates) == ["failed"] * 3
        assert "what is no number" in gates["llm_auc"].reason
    assert states(decided(Fault("cannot be asked: torn"), pinned)) == ["failed"] * 3
    gates = decided(without_rows(pinned), None)
    assert states(gates) == ["failed", "passed", "passed"]
    assert "nothing held out" in gates["llm_auc"].reason


def test_mmlu_counts_where_it_was_asked() -> None:
    gates = decided(evaluation(2, pairs=200), evaluation(2, pairs=200))
    assert gates["llm_mmlu"].state == "passed"
    assert gates["llm_mmlu"].reason.endswith("60 questions")


@pytest.fixture
def base(tmp_path: Path) -> Path:
    return tiny_llama.write(tmp_path / "base")


@pytest.fixture
def stamped(own: Workspace, base: Path) -> Iterator[Stamped]:
    """Makes the folder of a model tuned in the workspace, as `recgen train` leaves it."""

    def make(seed: int, **summary: str) -> Path:
        step = steps.Step(folder=models.tuned_folder(own, method="recgen", seed=seed), config={"seed": seed})

        def work(folder: Path) -> dict[str, str]:
            shutil.copytree(base, folder, dirs_exist_ok=True)
            storage.write_json(folder / "tokenizer_config.json", {"seed": seed})
            return summary

        return steps.run(step, work).folder

    yield make
    pins.file(own).unlink(missing_ok=True)
    shutil.rmtree(pins.folder(own), ignore_errors=True)


def tuned(folder: Path) -> Model:
    return Model(name=folder.name, folder=folder)


def test_where_nothing_or_base_is_pinned_it_is_what_a_model_was_tuned_from(
    own: Workspace, stamped: Stamped, base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = tuned(stamped(1, base=str(base), base_hash=models.model_hash(base)))
    assert against(own, one, None) == (Model(name="base", folder=base, kind="untuned"), "")
    untuned = Pin(name=models.LLM, folder=str(base), hash=models.model_hash(base))
    found, _ = against(own, one, untuned)
    assert found and found.kind == "untuned"
    other, why = against(own, tuned(stamped(2, base=str(base), base_hash="0" * 64)), None)
    assert other is None
    assert "is not what it was tuned from any more" in why
    other, why = against(own, tuned(stamped(3)), None)
    assert other is None
    assert "what it was tuned from is not known" in why
    assert against(own, tuned(stamped(4, base="gone/model")), None)[1].startswith("what it was tuned from is not here")


def test_a_pinned_one_is_held_against_and_one_that_is_lost_gives_way(
    own: Workspace, stamped: Stamped, base: Path
) -> None:
    one = tuned(stamped(1, base=str(base), base_hash=models.model_hash(base)))
    stamped(2)
    pin(own, model="recgen", seed=2)
    note = pins.read(own)
    found, why = against(own, one, note)
    assert note and found and (found.kind, found.name, found.folder, why) == ("pinned", "recgen-s2", note.path, "")
    storage.remove(note.path)
    found, why = against(own, one, note)
    assert found and found.kind == "untuned"
    assert "is not the pinned model" in why


def test_rows_are_those_that_the_pinned_model_cannot_have_read(own: Workspace, stamped: Stamped) -> None:
    stamped(2)
    pin(own, model="recgen", seed=2)
    note = pins.read(own)
    assert note
    pinned = Model(name=note.name, folder=note.path, kind="pinned", pin=note)
    whole = rows_for(own, None, SMALL)
    assert whole.asked.num_rows == whole.shared.num_rows == 40
    of_same_day = rows_for(own, pinned, SMALL)
    assert of_same_day.shared.equals(whole.asked), "held out for both"
    assert not of_same_day.why


def test_one_that_knows_later_days_is_not_compared_on_them(own: Workspace, stamped: Stamped, base: Path) -> None:
    stamped(2)
    pin(own, model="recgen", seed=2)
    note = pins.read(own)
    assert note
    pinned = Model(name=note.name, folder=note.path, kind="pinned", pin=note)
    (note.path / learnt.FILE).unlink()  # as of a pin of before: only its newest day is known
    found = rows_for(own, pinned, SMALL)
    assert (found.asked.num_rows, found.shared.num_rows) == (40, 0)
    assert "the pinned model may have read all but 0 of 40" in found.why
    tested = evaluate.held_out_rows(own, None, seed=0)
    days = np.sort(tested["timestamp"].to_numpy()[tested["label"].to_numpy() == 1])
    earlier = replace(note, until=str(np.datetime64(int(days[len(days) // 3]), "s").astype("datetime64[D]")))
    some = rows_for(own, replace(pinned, pin=earlier), SMALL)
    assert some.shared.num_rows == 40
    assert min(some.shared["timestamp"].to_pylist()) > days[len(days) // 3]
    several = replace(SMALL, pairs=40)
    assert rows_for(own, replace(pinned, pin=earlier), several).shared.num_rows == 0, "too few to tell"


def test_the_pinned_one_is_not_checked(own: Workspace, stamped: Stamped) -> None:
    with pytest.raises(UsageError, match="--model pinned: it is what others are held against"):
        model_check.check(own, model="pinned", seed=1)
    with pytest.raises(LlmcfError, match="recgen train --method recgen --seed 77"):
        model_check.check(own, model="recgen", seed=77)
    assert tables.training_rows(own).num_rows
