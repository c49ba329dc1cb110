"""Arms: who gets which release, and files that are refused."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import UsageError
from llmcf.serving import arms
from llmcf.serving.arms import LIVE, Arm, Arms

USERS = [f"user:u{number}" for number in range(20_000)]


def trial(experiment: str = "a", **percent: float) -> Arms:
    made = {name: Arm(release=at + 2, percent=part) for at, (name, part) in enumerate(percent.items())}
    return Arms(experiment=experiment, arms=made)


def test_each_arm_gets_its_part_of_the_users() -> None:
    found = [trial(one=10, other=30.5).pick(user) for user in USERS]
    for name, part in {"one": 0.1, "other": 0.305, LIVE: 0.595}.items():
        assert found.count(name) / len(found) == pytest.approx(part, abs=0.015)


def test_the_draw_is_the_same_in_every_process_and_version() -> None:
    """Written down: a change of the hash would move the users of every experiment that is on."""
    assert [trial(one=50).pick(f"user:u{number}") for number in range(8)] == [
        "one", "live", "one", "live", "live", "one", "one", "one",
    ]  # fmt: skip


def test_another_experiment_draws_independently() -> None:
    first, second = ([trial(name, one=50).pick(user) for user in USERS] for name in ("a", "b"))
    both = sum(pair == ("one", "one") for pair in zip(first, second, strict=True))
    assert both / len(USERS) == pytest.approx(0.25, abs=0.015)


@given(st.text(), st.floats(1, 40), st.floats(1, 59))
def test_who_is_in_the_last_arm_stays_in_it_when_it_grows(user: str, part: float, more: float) -> None:
    small, large = (trial(one=40, last=percent).pick(user) for percent in (part, part + min(more, 60 - part)))
    assert small in {large, LIVE}


def test_the_shadow_takes_its_part_of_the_requests() -> None:
    shadow = Arms(shadow=Arm(release=2, percent=5))
    assert sum(shadow.shadowed(user) for user in USERS) / len(USERS) == pytest.approx(0.05, abs=0.01)
    assert not any(Arms().shadowed(user) for user in USERS[:100])


def test_a_file_is_read_whole(tmp_path: Path) -> None:
    file = tmp_path / "arms.toml"
    assert arms.load(file) == arms.NONE
    file.write_text(
        'experiment = "text"\n[arms.tower]\nrelease = 4\npercent = 10\n'
        "[shadow]\nrelease = 5\npercent = 0.5\n[watch]\nseconds = 60\nleast = 20\n"
    )
    found = arms.load(file, [3, 4, 5])
    assert found.arms == {"tower": Arm(release=4, percent=10)}
    assert found.releases == {4, 5}
    assert (found.watch.seconds, found.watch.least, found.watch.failures) == (60, 20, 0.02)
    assert Arms.model_validate_json(found.model_dump_json()) == found


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("[arms", "is no TOML"),
        ("[arms.a]\nrelease = 4\npercent = 10\n", "arms need the name of an experiment"),
        ('experiment = "x"\n[arms.a]\nrelease = 4\npercent = 0\n', "arms.a.percent: "),
        ('experiment = "x"\n[arms.a]\nrelease = "4"\npercent = 1\n', "arms.a.release: "),
        ('experiment = "x"\n[arms.a]\nrelease = true\npercent = 1\n', "arms.a.release: "),
        ('experiment = "x"\n[arms.a]\nrelease = 4\npercent = nan\n', "arms.a.percent: "),
        ('experiment = "x"\n[arms.live]\nrelease = 4\npercent = 1\n', "an arm cannot be called live"),
        ('experiment = "x"\n[arms."a b"]\nrelease = 4\npercent = 1\n', "arms.a b.*: "),
        (
            'experiment = "x"\n[arms.a]\nrelease = 4\npercent = 60\n[arms.b]\nrelease = 4\npercent = 41\n',
            "101 percent",
        ),
        ('experiment = "x\\n"\n', "experiment: "),
        ("[shadow]\nrelease = 9\npercent = 1\n", r"shadow.release: 9; there are: 3, 4"),
        ("[watch]\nminutes = 9\n", "watch.minutes: "),
    ],
)
def test_a_fault_is_named_with_its_place(tmp_path: Path, text: str, place: str) -> None:
    file = tmp_path / "arms.toml"
    file.write_text(text)
    with pytest.raises(UsageError, match=place):
        arms.load(file, [3, 4])
