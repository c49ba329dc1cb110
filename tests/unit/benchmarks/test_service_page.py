"""What the loads on a service come to."""

import pytest

from benchmarks import service_page
from benchmarks.load import Asked
from benchmarks.promotion import Found as Promotion
from benchmarks.service_page import REST, Found


def test_refusals_are_told_apart_from_answers_and_failures() -> None:
    asked = [Asked(0, 10.0 + n, 200, 0) for n in range(5)] + [Asked(0, 2.0, 503, -1), Asked(0, 4.0, 429, -1)]
    found = service_page.level("llm-cf", 16, False, [*asked, Asked(0, 1000.0, 504, -1)], 10.0)
    assert (found.answers, found.failed, found.per_second) == (5, 1, 0.5)
    assert (found.p50_ms, found.refused) == (12.0, 0.25)
    assert found.refused_p99_ms == pytest.approx(3.98)
    assert service_page.level("none", 1, False, asked[:2], 10.0).refused_p99_ms is None


def test_what_lies_between_the_stages_and_the_client_is_told_last() -> None:
    asked = [Asked(0, 10.0, 200, 0, {"features": 1.0, "ranker": 4.0}), Asked(0, 1.0, 503, -1)]
    found = service_page.stages(asked)
    assert list(found.items()) == [("features", (1.0, 1.0)), ("ranker", (4.0, 4.0)), (REST, (5.0, 5.0))]


def test_what_is_wanted_stands_beside_what_was_measured() -> None:
    levels = [
        service_page.level(name, n, False, [Asked(0, 10.0 * n, 200, 0)], 1.0)
        for name in ("llm-cf", "none")
        for n in (1, 4, 16)
    ]
    text = "\n".join(service_page._judged(Found(levels=levels, stages={}, floors={}, starts=[4.0])))
    for words in ("10.0 ms", "1.00", "40.0 ms", "1.0 and 1.0", "4.0 s"):
        assert words in text
    assert "refusals" not in text


def test_refusals_of_patient_clients_are_told_apart() -> None:
    asked = {patient: [Asked(0, ms, 503, -1)] for patient, ms in ((False, 30.0), (True, 8.0))}
    levels = [service_page.level("llm-cf", 64, patient, rows, 1.0) for patient, rows in asked.items()]
    told = service_page._judged(Found(levels=levels, stages={}, floors={}, starts=[4.0]))
    assert ["30.0 ms" in row for row in told if "refusals" in row] == [True]
    assert ["8.0 ms" in row for row in told if "wait as told" in row] == [True]
    assert [service_page._row(one)[1] for one in levels] == ["64", "64, patient"]


def test_what_was_compared_and_what_switches_cost_is_told() -> None:
    promoted = Promotion(
        switches=[("promotion of 2", 1.5), ("rollback to 1", 0.25)],
        requests=1000,
        failed=3,
        releases=[1, 2],
        answers=40,
        mixed=2,
        p50_ms=10.0,
        p99_ms=20.0,
        most_ms=30.0,
    )
    found = Found(levels=[], stages={}, floors={}, starts=[4.0], held=50, wrong=["u, release 1"], promotion=promoted)
    text = "\n".join([*service_page._judged(found), *service_page._promotion(promoted)])
    for words in ("1 of 50 compared", "3 of 1,000 requests in 2 switches", "2 of 40 compared", "1.50", "0.25"):
        assert words in text
    assert service_page._promotion(None) == []
