"""Releases: whole or not there, one of them live by a written pointer, killed between any two writes and run again."""

import os
import shutil
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from core import storage
from core.contracts import CONTRACT
from core.errors import LlmcfError, Missing, UsageError
from core.settings import Workspace
from llmcf.serving import arms, assemble, listing, manifest, releases, serve
from llmcf.serving.assemble import Plan
from llmcf.serving.manifest import Release
from tests.synthetic_release import pruned, write_release

WS = Workspace("movielens-100k", "shuffled-ties")
KILLED = 9


def test_a_release_says_all_that_serving_needs(repository: Path) -> None:
    made = write_release(WS)
    release = releases.require(WS.dataset)
    assert release == made
    assert (release.workspace, release.versions) == (WS, {"ranker": 1, "user_vector": 1, "score": 1})
    stage = release.stages["ranker"]
    path = release.models / "ranker" / "1" / "model.onnx"
    assert stage.sha256["model.onnx"] == storage.sha256(path)
    assert stage.reads == {tensor.name for tensor in stage.inputs}
    assert (release.folder / manifest.FILE).is_file()


def test_a_release_is_a_triton_repository_with_exact_versions(repository: Path) -> None:
    write_release(WS)
    second = write_release(WS)
    assert sorted(path.name for path in second.models.iterdir()) == ["ranker", "score", "user_vector"]
    for model in second.stages:
        assert "specific: { versions: [ 2 ] }" in (second.models / model / "config.pbtxt").read_text()
        assert [path.name for path in (second.models / model).iterdir() if path.is_dir()] == ["2"]


def test_the_pointer_names_versions_and_the_link_follows_it(repository: Path) -> None:
    first, second = write_release(WS), write_release(WS)
    pointer = releases.pointer(WS.dataset)
    assert pointer is not None
    assert pointer.versions == {"ranker": 2, "user_vector": 2, "score": 2}
    assert (pointer.release, pointer.before) == (2, [1])
    assert (repository / "live" / WS.dataset).resolve() == second.folder.resolve()
    releases.promote(first)
    assert releases.live(WS.dataset) == first
    assert (repository / "live" / WS.dataset).resolve() == first.folder.resolve()
    releases.promote(first)
    pointer = releases.pointer(WS.dataset)
    assert pointer is not None
    assert pointer.before == [2]


def test_a_pointer_that_a_later_version_wrote_is_read(repository: Path) -> None:
    write_release(WS)
    path = repository / "live" / f"{WS.dataset}.json"
    storage.write_json(path, storage.read_json(path) | {"why": "a better one"})
    found = releases.pointer(WS.dataset)
    assert found is not None
    assert found.release == 1


def test_a_release_that_is_not_promoted_is_not_live(repository: Path) -> None:
    first = write_release(WS)
    write_release(WS, live=False)
    assert releases.live(WS.dataset) == first
    assert releases.numbers(WS.dataset) == [1, 2]


def test_rolling_back_goes_the_way_that_promotions_came(repository: Path) -> None:
    for _ in range(3):
        write_release(WS)
    assert [releases.rollback(WS.dataset).number for _ in range(2)] == [2, 1]
    with pytest.raises(LlmcfError, match=r"live before 1 is kept; `llmcf release list --dataset movielens-100k`"):
        releases.rollback(WS.dataset)
    assert write_release(WS).number == 4, "a number is given once"
    assert releases.rollback(WS.dataset).number == 1


def test_nothing_is_left_that_was_not_asked_for(repository: Path) -> None:
    """As a day's DAG asks: somebody may have gone back already."""
    for _ in range(3):
        write_release(WS)
    assert releases.rollback(WS.dataset, leaving=3).number == 2
    assert releases.rollback(WS.dataset, leaving=3).number == 2


def test_what_was_left_is_remembered_until_somebody_promotes_it(repository: Path) -> None:
    first, second = write_release(WS), write_release(WS)
    third = write_release(WS, live=False)
    assert not any(map(releases.was_left, (second, third)))
    releases.rollback(WS.dataset)
    assert [releases.was_left(one) for one in (first, second, third)] == [False, True, False]
    releases.promote(third)
    assert [releases.was_left(one) for one in (first, second, third)] == [True, True, False], "first was passed on"
    releases.promote(second)
    assert not releases.was_left(second)


def test_what_still_answers_is_given_back_whatever_was_promoted_or_chosen_since(repository: Path) -> None:
    for _ in range(3):
        write_release(WS)
    releases.give_back(WS.dataset, 1)  # 2 and 3 were promoted before anybody looked
    found = releases.pointer(WS.dataset)
    assert found is not None
    assert (found.release, found.before, found.left) == (1, [], [2, 3])
    for number in (2, 3):
        releases.promote(releases.read(WS.dataset, number))
    releases.rollback(WS.dataset)
    releases.give_back(WS.dataset, 3)  # 2, which was gone back to, does not answer
    found = releases.pointer(WS.dataset)
    assert found is not None
    assert (found.release, found.before, found.left) == (3, [1], [2])


@pytest.mark.parametrize("text", ["{", "{}", "null", "[]", '{"release": 1}'])
def test_a_pointer_that_is_none_is_named(repository: Path, text: str) -> None:
    write_release(WS)
    releases._pointer_file(WS.dataset).write_text(text)
    with pytest.raises(LlmcfError, match=r"names no release .*; remove it and promote one"):
        releases.pointer(WS.dataset)


def test_rolling_back_passes_over_what_was_removed(repository: Path) -> None:
    for _ in range(3):
        write_release(WS)
    shutil.rmtree(releases.read(WS.dataset, 2).folder)
    assert releases.rollback(WS.dataset).number == 1


def test_pruning_keeps_the_live_one_and_the_way_back(repository: Path) -> None:
    for _ in range(5):
        write_release(WS)
    releases.promote(releases.read(WS.dataset, 2))
    assert pruned(WS.dataset, keep=3) == [1, 3]
    assert releases.numbers(WS.dataset) == [2, 4, 5]
    assert releases.rollback(WS.dataset).number == 5
    pruned(WS.dataset, keep=1)
    assert releases.numbers(WS.dataset) == [5]
    assert write_release(WS).number == 6


def test_pruning_keeps_the_newest_that_may_yet_go_live(repository: Path) -> None:
    for _ in range(3):
        write_release(WS)
    write_release(WS, live=False)
    assert pruned(WS.dataset) == [1], "an export that waits for its check"
    assert releases.rollback(WS.dataset).number == 2
    releases.promote(releases.read(WS.dataset, 4))
    releases.rollback(WS.dataset)
    write_release(WS)
    assert pruned(WS.dataset, keep=2) == [3, 4], "what was rolled back from is no candidate"


def test_pruning_leaves_what_arms_name(repository: Path) -> None:
    for _ in range(5):
        write_release(WS)
    file = arms.path(WS.dataset)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text('experiment = "x"\n[arms.a]\nrelease = 2\npercent = 10\n[shadow]\nrelease = 3\npercent = 1\n')
    assert pruned(WS.dataset, keep=1) == [1, 4]


def test_a_number_is_given_once_whatever_was_removed(repository: Path) -> None:
    for _ in range(5):
        write_release(WS)
    releases._last_file(WS.dataset).unlink()  # as in a repository that is older than the note
    assert releases.rollback(WS.dataset).number == 4
    assert pruned(WS.dataset, keep=2) == [1, 2, 5]
    assert releases.rollback(WS.dataset).number == 3
    assert write_release(WS, live=False).number == 6
    assert pruned(WS.dataset, keep=1) == [4, 6]
    assert write_release(WS, live=False).number == 7
    shutil.rmtree(releases.read(WS.dataset, 7).folder)
    assert releases.next_number(WS.dataset) == 8
    with pytest.raises(LlmcfError), releases.making(WS.dataset), releases.staged(WS.dataset, 8):
        raise LlmcfError("the canary died")
    assert releases.next_number(WS.dataset) == 8, "nobody has seen it"


def test_what_was_removed_meanwhile_is_not_made_live(repository: Path) -> None:
    first, second = write_release(WS), write_release(WS)
    shutil.rmtree(first.folder)
    with pytest.raises(UsageError, match="no release 1 of movielens-100k; there are: 2"):
        releases.promote(first)
    assert releases.require(WS.dataset) == second


def test_data_sets_have_releases_of_their_own(repository: Path) -> None:
    beauty = Workspace("amazon-beauty", "published")
    write_release(WS)
    assert write_release(beauty).number == 1
    assert write_release(beauty).number == 2
    assert releases.datasets() == ["amazon-beauty", "movielens-100k"]
    live = [releases.live(dataset) for dataset in releases.datasets()]
    assert [one.number for one in live if one] == [2, 1]


def test_without_a_release_the_next_command_is_named(repository: Path) -> None:
    with pytest.raises(LlmcfError, match=r"no release of movielens-100k is live; run `llmcf export --dataset movie"):
        releases.require(WS.dataset)
    write_release(WS, live=False)
    with pytest.raises(LlmcfError, match=r"run `llmcf release promote --dataset movielens-100k --release 1`"):
        releases.require(WS.dataset)
    with pytest.raises(UsageError, match="no release 7 of movielens-100k; there are: 1"):
        releases.require(WS.dataset, 7)


def test_the_release_of_another_home_is_refused(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_release(WS)
    monkeypatch.setenv("LLMCF_HOME", str(repository.parent / "other"))
    with pytest.raises(LlmcfError, match=r"release 1 of movielens-100k reads another home than .*other"):
        releases.require(WS.dataset)


def test_a_home_that_was_moved_is_the_same(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_release(WS)
    (repository.parent / "home").rename(repository.parent / "moved")
    monkeypatch.setenv("LLMCF_HOME", str(repository.parent / "moved"))
    assert releases.require(WS.dataset).number == 1


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda stated: stated | {"contract": CONTRACT - 1}, "contract 2, and 3 is served"),
        (lambda stated: {"contract": CONTRACT}, "no manifest of a release"),
    ],
)
def test_a_manifest_that_cannot_be_read_is_named(repository: Path, spoil: Callable[[dict], dict], words: str) -> None:
    path = write_release(WS).folder / manifest.FILE
    storage.write_json(path, spoil(storage.read_json(path)))
    with pytest.raises(LlmcfError, match=words):
        releases.require(WS.dataset)


def test_what_cannot_be_read_is_in_nobodys_way(repository: Path, spoil: Callable[[Release], None]) -> None:
    first = write_release(WS)
    for _ in range(2):
        spoil(write_release(WS))
    assert releases.newest(WS.dataset) == first
    assert releases.of(WS.dataset) == [first]
    with pytest.raises(LlmcfError, match=r"llmcf export --dataset movielens-100k|release.json cannot be read"):
        releases.require(WS.dataset)
    assert write_release(WS).number == 4
    assert releases.rollback(WS.dataset) == first
    assert releases.kept(WS.dataset, keep=2) == {1, 4}, "what can be served comes first"
    assert pruned(WS.dataset, keep=2) == [2, 3]


def test_a_release_that_is_removed_meanwhile_is_left_out(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = write_release(WS)
    monkeypatch.setattr(releases, "numbers", lambda dataset: [1, 2])
    assert releases.of(WS.dataset) == [first]
    assert [claim.number for claim in releases.claims(WS.dataset)] == [1]


def damage(release: Release) -> Path:
    path = release.models / "ranker" / str(release.number) / "model.onnx"
    path.write_bytes(path.read_bytes()[:-1] + b"?")
    return path


@pytest.mark.parametrize(
    "use",
    [serve.serve, lambda one: listing.promote(one.dataset, one.number), lambda one: serve.connect(one).__enter__()],
)
def test_a_damaged_file_is_named_before_anything_serves_it(
    repository: Path, monkeypatch: pytest.MonkeyPatch, use: Callable[[Release], object]
) -> None:
    release = write_release(WS)
    assert release.damaged() is None
    path = damage(release)
    with pytest.raises(Missing, match=rf"{path} is not as it was made; run `llmcf export --dataset movielens-100k"):
        use(release)


@pytest.mark.parametrize("name", ["model.py", "ids.safetensors", "item_vectors.safetensors"])
def test_a_damaged_file_of_the_model_score_is_found(repository: Path, name: str) -> None:
    release = write_release(WS)
    path = release.models / "score" / "1" / name
    path.write_bytes(path.read_bytes() + b"?")
    assert release.damaged() == path


def test_a_damaged_release_is_made_anew(repository: Path) -> None:
    release = write_release(WS)
    damage(release)
    assert assemble.current(Plan(ws=WS, source=release.source, choices={}, write={}, collections={})) is None


def publish(of: Release) -> None:
    """Stage a copy as the next release, promote it and prune to two: all writes of an export, without its work."""
    number = releases.next_number(of.dataset)
    with releases.making(of.dataset):
        with releases.staged(of.dataset, number) as folder:
            shutil.copytree(of.folder, folder, dirs_exist_ok=True)
            stages = {}
            for model, stage in of.stages.items():
                (folder / "models" / model / str(stage.version)).rename(folder / "models" / model / str(number))
                stages[model] = replace(stage, version=number)
            release = replace(of, number=number, stages=stages)
            release.write(folder)
        with releases.locked():
            releases.promote(release)
            pruned(of.dataset, keep=2)


def killed_at(write: int, work: Callable[[], None], below: Path) -> bool:
    """Run `work` in a process that dies just before its n-th write below a folder; False if it ended before."""
    pid = os.fork()
    if pid:
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == KILLED
    seen = 0

    def watch(event: str, arguments: tuple) -> None:
        nonlocal seen
        writes = event in {"os.rename", "os.symlink", "os.mkdir", "os.remove", "os.rmdir"}
        if event == "open" and isinstance(arguments[2], int):
            writes = bool(arguments[2] & (os.O_WRONLY | os.O_RDWR))
        if writes and any(str(below) in str(argument) for argument in arguments):
            if seen == write:
                os._exit(KILLED)
            seen += 1

    sys.addaudithook(watch)
    try:
        work()
    except BaseException:
        os._exit(1)
    os._exit(0)


def whole(release: Release) -> bool:
    """Every file that the manifest names is there, as it was."""
    return all(
        storage.sha256(release.models / model / str(stage.version) / name) == digest
        for model, stage in release.stages.items()
        for name, digest in stage.sha256.items()
    )


def test_killed_between_any_two_writes_there_is_always_a_whole_live_release(repository: Path) -> None:
    """What a polling server sees is the link's target; what a client asks for, the pointer's versions."""
    first = write_release(WS)
    write, numbers = 0, set()
    while killed_at(write, lambda: publish(first), repository):
        live = releases.require(WS.dataset)
        assert whole(live)
        polled = (repository / "live" / WS.dataset).resolve()
        assert whole(Release.read(polled))
        assert all(whole(one) for one in releases.of(WS.dataset))
        numbers.add(live.number)
        if live.number != first.number:  # what was killed after the pointer is mended by repeating it
            releases.promote(live)
            assert (repository / "live" / WS.dataset).resolve() == live.folder.resolve()
            releases.rollback(WS.dataset)
        write += 1
    assert write > 20
    assert len(numbers) > 1, "some were killed after the pointer had moved"
    publish(first)
    live = releases.require(WS.dataset)
    assert whole(live)
    assert len(releases.numbers(WS.dataset)) == 2
    assert not [path for path in manifest.root(WS.dataset).iterdir() if path.name.startswith(".")]
