"""How an answer reads."""

from llmcf.serving.answers import Answer, Evidence, Recommendation, text


def evidence(number: int, *, liked: bool = True, words: str = "It fits.") -> Evidence:
    return Evidence(
        example=number, user="9", title=f"Film {number}", liked=liked, date="1998-02-01", similarity=0.5, text=words
    )


def test_an_answer_shows_rank_title_score_and_the_nearest_example_of_either_outcome() -> None:
    examples = [evidence(1), evidence(3), evidence(2, liked=False)]
    item = Recommendation(item="7", title="Fargo", score=0.91234, evidence=examples)
    shown = text([Answer(user="42", items=[item], milliseconds={"ranker": 1.25, "features": 0.5})])
    assert "user 42" in shown
    assert "1. Fargo  0.912" in shown
    assert "user 9 took Film 1 (similarity 0.50): 'It fits.'" in shown
    assert "user 9 did not take Film 2" in shown
    assert "Film 3" not in shown
    assert "together 1.8" in shown


def test_a_cold_start_says_so_and_shows_no_scores() -> None:
    answer = Answer(user="x", items=[Recommendation(item="1", title="Star Wars")], cold_start=True, note="cold start")
    assert text([answer]).splitlines() == ["user x: cold start", "   1. Star Wars"]


def test_a_long_chain_of_thought_is_cut_and_kept_on_one_line() -> None:
    item = Recommendation(item="1", title="T", score=0.5, evidence=[evidence(1, words="a\n" * 300)])
    lines = text([Answer(user="1", items=[item])]).splitlines()
    assert len(lines) == 3
    assert len(lines[2]) < 400
