"""What happens to a text between the model and the file: cleaning, flags, the rule against stated decisions."""

import pytest

from llm import quality

OPENINGS = ("The person, who watched Heat, cares about", "Alien, of horror, is about", "For variety, it adds")


@pytest.mark.parametrize(
    "sentence",
    [
        "Yes, it is a match.",
        "The answer is clear.",
        "The person will like it.",
        "This user would not really enjoy this film.",
        "They did not choose the film.",
        "The person liked it.",
        "She probably bought the product.",
        "The person is unlikely to watch it.",
        "So no, it does not fit.",
        "The match is no.",
        "No.",
        'Asked for a verdict: "No."',
        "The label is 1.",
        "Label 1, as it seems.",
        "It is a clear no.",
        "They say No.",
    ],
)
def test_a_stated_decision_is_seen(sentence: str) -> None:
    assert quality.states_decision(sentence)


@pytest.mark.parametrize(
    "sentence",
    [
        "The person likes comedies from the nineties.",
        "It suits fans of quiet dramas who enjoy a slow story.",
        "A person who watched Heat (crime) will find in Alien (horror) more tension.",
        "The film brings variety after so many comedies.",
        "There is no violence in it.",
        "The person, who bought Revlon Ceramic Stone Nail File Model No., cares about nails.",
        "Spornette No.215 Super Looper Hair Brush, of hair care, is for curls.",
        "No. 5 by Chanel for Women, of fragrance, is for evenings.",
        "BelleSha Smooth Silky Glowing Hair No, of hair care, is for shine.",
        "NYX Cosmetics Black Label Lipstick, of makeup, is for lips.",
    ],
)
def test_reasoning_is_not_taken_for_a_decision(sentence: str) -> None:
    assert not quality.states_decision(sentence)


def test_a_number_ends_no_sentence() -> None:
    """A perfume's name, which lost what was said of it."""
    text = "No. 5 by Chanel is for evenings. No. It adds Model no. 2 too! Yes."
    assert quality.split_sentences(text) == [
        "No. 5 by Chanel is for evenings.",
        "No.",
        "It adds Model no. 2 too!",
        "Yes.",
    ]
    assert quality.part(" the scent of No. 5 and soap. More.", "stop", sentence=True) == "the scent of No. 5 and soap."


def test_what_is_quoted_is_no_decision() -> None:
    text = "The person, who watched Yes, Giorgio and The Answer, cares about song."
    assert quality.decided(text)
    assert not quality.decided(text, ["Giorgio", "Yes, Giorgio", "The Answer", ""])
    assert quality.decided(f"{text} Yes, it fits.", ["Yes, Giorgio", "The Answer"])
    assert quality.decided("The person liked the movie.", ["movie", "The", "the movie"]), "a name that is a part of it"
    assert quality.decided("Dull. No, it does not fit.", ["Dull", "fit"])


@pytest.mark.parametrize("title", ["The Answer", "Yes, Giorgio", "Stone Nail File Model No."])
def test_an_opening_that_quotes_such_a_title_keeps_its_sentence(title: str) -> None:
    openings = (f"The person, who bought {title}, cares about",)
    assert quality.finish(openings, ["nails."], strip_decision=True) == f"{openings[0]} nails."
    assert "decision" not in quality.flags(openings, ["nails that are strong and that they can have."], ["stop"])
    told = "nails. The person will like it."
    assert quality.finish(openings, [told], strip_decision=True) == f"{openings[0]} nails."
    assert "decision" in quality.flags(openings, [told], ["stop"])
    assert quality.finish(("The person",), ["will like it."], strip_decision=True) == "The person."


def test_what_is_shown_of_a_text_says_no_decision() -> None:
    """Of every set: recipe `paper` keeps them."""
    text = "Anna cares about soap. The person will like it. It smells of roses! Yes, it is a match."
    assert quality.undecided(text) == "Anna cares about soap. It smells of roses!"
    assert quality.undecided("The answer is clear.") == quality.undecided("") == ""


def test_a_part_is_one_whole_sentence() -> None:
    assert quality.part(" dark stories.\nAnd more. ", "stop", sentence=True) == "dark stories."
    assert quality.part(" a story of <|im_end|> two", "stop", sentence=True) == "a story of two."
    assert quality.part(" a story that goes on and o", "length", sentence=True) == "a story that goes on and."
    assert quality.part(" One. Two. And then the", "length", sentence=False) == "One. Two."
    assert quality.part("", "stop", sentence=True) == ""


def test_joined_leaves_the_next_opening_open() -> None:
    assert quality.joined(OPENINGS, []) == OPENINGS[0]
    assert quality.joined(OPENINGS, ["crime."]) == f"{OPENINGS[0]} crime. {OPENINGS[1]}"
    whole = quality.joined(OPENINGS, ["crime.", ", oddly, rest.", "x."])
    assert whole.endswith("is about, oddly, rest. For variety, it adds x.")


def test_finish_drops_decisions_but_not_what_an_opening_says() -> None:
    parts = ["crime.", "a monster. The person will like it. It is dark.", "what she would love."]
    strict = f"{OPENINGS[0]} crime. {OPENINGS[1]} a monster. It is dark. {OPENINGS[2]} what she would love."
    other = quality.finish(OPENINGS, [*parts[:2], "space."], strip_decision=True)
    assert other == strict.replace("what she would love", "space")
    assert quality.finish(OPENINGS, parts, strip_decision=True) == (
        f"{OPENINGS[0]} crime. {OPENINGS[1]} a monster. It is dark. {OPENINGS[2]}."
    )
    assert "The person will like it." in quality.finish(OPENINGS, parts, strip_decision=False)


GOOD = [
    "stories in which the police and the thieves respect each other.",
    "a crew that meets a deadly creature in space.",
    "tension, and a heroine who stays calm.",
]


@pytest.mark.parametrize(
    ("parts", "finish", "flag"),
    [
        (GOOD, ["stop"] * 3, None),
        (["it.", "", "."], ["stop"] * 3, "empty"),
        (["good and good and good and good and good and good."] * 3, ["stop"] * 3, "repetition"),
        (["Krieg Frieden Liebe Hass.", "Mond Sonne Sterne Meer.", "Baum Haus Weg."], ["stop"] * 3, "language"),
        (["I'm sorry, as an AI language model I cannot watch.", *GOOD[1:]], ["stop"] * 3, "refusal"),
        (GOOD, ["length", "length", "stop"], "truncated"),
        ([GOOD[0], "a crew. The person will not like it.", GOOD[2]], ["stop"] * 3, "decision"),
    ],
)
def test_flags_see_what_is_wrong(parts: list[str], finish: list[str], flag: str | None) -> None:
    assert quality.flags(OPENINGS, parts, finish) == ([flag] if flag else [])


def test_copied_share_counts_runs_of_words() -> None:
    assert quality.copied_share("a b c d", "x a b c y") == 0.5
    assert quality.copied_share("a b", "a b") == 0.0
