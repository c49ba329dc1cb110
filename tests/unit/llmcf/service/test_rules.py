"""Rules: what a file may say, and what a scene does to a ranking."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import UsageError
from llmcf.service import rules
from llmcf.service.rules import DEFAULT, Boost, Cap, Facts, Pin, Scene

BRANDS = {2: "Acme", 3: "Acme", 4: "Acme", 5: "Bolt", 6: "", 7: "Bolt"}
CATEGORIES = {2: ["tea"], 3: ["tea", "gift"], 4: ["gift"], 5: ["tea"], 6: [], 7: ["gift"]}
TITLES = {2: "Green", 3: "Black", 4: "GREEN", 5: "Red", 6: "White", 7: "Red"}
ITEMS = np.array([2, 3, 4, 5, 6, 7])
SCORES = np.array([0.9, 0.8, 0.7, 0.6, 0.5, 0.4])


def row(raw_id: str) -> int | None:
    number = int(raw_id.removeprefix("p"))
    return number if number in BRANDS else None


FACTS = Facts(BRANDS.__getitem__, CATEGORIES.__getitem__, TITLES.__getitem__, row)


def shown(scene: Scene, k: int = 6) -> list[int]:
    return ITEMS[rules.arrange(scene, ITEMS, SCORES, k, FACTS).order].tolist()


def read(folder: Path, text: str) -> dict[str, Scene]:
    (folder / "rules.toml").write_text(text)
    return rules.load(folder / "rules.toml", FACTS)


def test_without_rules_the_ranking_stays() -> None:
    assert shown(Scene()) == ITEMS.tolist()


@pytest.mark.parametrize(
    ("boost", "order"),
    [
        (Boost(brand="Bolt", factor=2), [5, 2, 3, 7, 4, 6]),
        (Boost(category="gift", factor=2), [3, 4, 2, 7, 5, 6]),
        (Boost(items=["p7"], factor=3), [7, 2, 3, 4, 5, 6]),
        (Boost(brand="Acme", factor=0.1), [5, 6, 7, 2, 3, 4]),
    ],
)
def test_a_boost_multiplies_the_score(boost: Boost, order: list[int]) -> None:
    assert shown(Scene(boost=[boost])) == order


def test_boosts_of_one_item_multiply() -> None:
    assert shown(Scene(boost=[Boost(brand="Bolt", factor=2), Boost(items=["p7"], factor=2)]))[:2] == [7, 5]


def test_of_two_titles_that_differ_in_case_the_better_is_shown() -> None:
    assert shown(Scene(drop_duplicates=True)) == [2, 3, 5, 6]


def test_a_cap_holds_on_each_page_and_loses_nothing() -> None:
    assert shown(Scene(cap=Cap(brand=1)), 3) == [2, 5, 6, 3, 7, 4]
    assert shown(Scene(cap=Cap(category=1)), 2) == [2, 4, 3, 6, 5, 7]


@pytest.mark.parametrize(("brand", "category"), [(2, None), (None, 2), (1, 1)])
@pytest.mark.parametrize("k", [1, 2, 3, 5])
def test_no_page_holds_more_than_its_caps(brand: int | None, category: int | None, k: int) -> None:
    arranged = rules.arrange(Scene(cap=Cap(brand=brand, category=category)), ITEMS, SCORES, k, FACTS)
    items, start = ITEMS[arranged.order].tolist(), 0
    for end in arranged.ends:
        page = items[start:end]
        assert 0 < len(page) <= k
        groups = (
            ([BRANDS[one] for one in page if BRANDS[one]], brand),
            ([n for i in page for n in CATEGORIES[i]], category),
        )
        for named, most in groups:
            assert all(count <= (most or k) for count in Counter(named).values())
        start = end
    assert start == len(items)


def test_where_there_are_no_others_a_page_is_shorter() -> None:
    """Twelve items of one brand."""
    facts = Facts(lambda _: "Acme", lambda _: [], str, lambda _: None)
    arranged = rules.arrange(Scene(cap=Cap(brand=2)), np.arange(12), np.linspace(1, 0, 12), 5, facts)
    assert arranged.order == list(range(12))
    assert arranged.ends == [2, 4, 6, 8, 10, 12]


def test_pins_come_first_within_their_share() -> None:
    scene = Scene(pin=[Pin(items=["p7", "p6", "p5"], share=0.5)])
    arranged = rules.arrange(scene, ITEMS, SCORES, 4, FACTS)
    assert ITEMS[arranged.order].tolist() == [7, 6, 2, 3, 4, 5]
    assert arranged.placed_by == ["pin", "pin", "", "", "", ""]


def test_of_two_items_of_one_title_the_pinned_one_is_shown() -> None:
    alike = next(
        (better, worse)
        for better in ITEMS.tolist()
        for worse in ITEMS.tolist()
        if better < worse and TITLES[better].casefold() == TITLES[worse].casefold()
    )
    scene = Scene(drop_duplicates=True, pin=[Pin(items=[f"p{alike[1]}"], share=0.5)])
    found = shown(scene, 4)
    assert found[0] == alike[1]
    assert alike[0] not in found


def test_a_pin_that_is_no_candidate_is_not_shown() -> None:
    scene = Scene(pin=[Pin(items=["p7"], share=1)])
    arranged = rules.arrange(scene, ITEMS[:3], SCORES[:3], 3, FACTS)
    assert arranged.order == [0, 1, 2]


@given(
    st.builds(
        Scene,
        drop_duplicates=st.just(False),
        cap=st.builds(Cap, brand=st.none() | st.integers(1, 3), category=st.none() | st.integers(1, 3)),
        pin=st.lists(st.builds(Pin, items=st.just(["p6", "p2"]), share=st.floats(0.1, 1)), max_size=2),
        boost=st.lists(st.builds(Boost, brand=st.just("Bolt"), factor=st.floats(0.1, 10)), max_size=2),
    ),
    st.integers(1, 6),
)
def test_whatever_the_rules_no_candidate_is_lost_or_shown_twice(scene: Scene, k: int) -> None:
    assert sorted(shown(scene, k)) == ITEMS.tolist()


def test_a_file_is_read_and_default_is_always_there(tmp_path: Path) -> None:
    assert rules.load(tmp_path / "rules.toml") == {DEFAULT: Scene()}
    scenes = read(tmp_path, "[scenes.home]\ndeny = ['p2']\n[[scenes.home.boost]]\nbrand = 'Acme'\nfactor = 1.5\n")
    assert rules.find(scenes, "home") == Scene(deny=["p2"], boost=[Boost(brand="Acme", factor=1.5)])
    assert rules.find(scenes, "") == Scene()
    with pytest.raises(UsageError, match="unknown scene 'shop'; choose one of: default, home"):
        rules.find(scenes, "shop")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[scenes.home]\nwhere = 1", r"scenes\.home\.where: Extra inputs"),
        ("[scenes.home]\ndeny = [1]", r"scenes\.home\.deny\.0: Input should be a valid string"),
        ("[[scenes.home.boost]]\nfactor = 2", r"scenes\.home\.boost\.0: .*name one of brand, category and items"),
        ("[[scenes.home.boost]]\nbrand = 'a'\nfactor = nan", r"scenes\.home\.boost\.0\.factor"),
        ("[[scenes.home.boost]]\nbrand = 'a'\ncategory = 'b'\nfactor = 2", "not brand and category"),
        ("[[scenes.home.pin]]\nitems = ['p2']\nshare = 1.5", r"scenes\.home\.pin\.0\.share"),
        ("[scenes.home]\navailable = '../../etc/passwd'", r"scenes\.home\.available"),
        ("[scenes.home]\ndeny = ['p99']", r"names what the release does not have: scenes\.home\.deny: 'p99'"),
        ("[[scenes.home.pin]]\nitems = ['p98']\nshare = 1", r"scenes\.home\.pin\.0\.items: 'p98'"),
        ("[scenes", "is no TOML"),
    ],
)
def test_a_fault_is_told_with_its_place(tmp_path: Path, text: str, told: str) -> None:
    with pytest.raises(UsageError, match=told):
        read(tmp_path, text)


def test_what_is_available_is_read_from_its_file(tmp_path: Path) -> None:
    (tmp_path / "stock.txt").write_text("p2\n\n p3 \n")
    assert rules.listed(tmp_path / "stock.txt") == ["p2", "p3"]
    with pytest.raises(UsageError, match=r"gone\.txt, which a rule names, cannot be read"):
        rules.listed(tmp_path / "gone.txt")
