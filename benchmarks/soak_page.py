"""The page and the picture of `benchmarks.soak`."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from benchmarks import measured
from core import storage
from core.markdown import table
from llmcf.service.ways import FULL
from llmcf.serving.manifest import Release

if TYPE_CHECKING:
    from benchmarks.soak import Account, Sample

LATE_MS = 100.0  # after its deadline an answer is late
SETTLED_S = 30.0  # after a kill, and of a process's life: memory is not compared before
_STEP_S = 5.0  # of the picture, or less for a short run


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """Of a whole run. `after` tells of each kill: part, seconds until every answer was full again, rungs, errors.

    `growth` compares the memory of all processes in the first and the last quarter, outside of what follows a kill;
    `most_grown` is the process that grew most from when it had settled, each as a share. None where there is too
    little to tell.
    """

    requests: int
    per_second: float
    p50_ms: float
    p99_ms: float
    most_ms: float
    late: int
    statuses: dict[str, int]
    error_share: float
    rungs: dict[str, int]
    answers: int
    wrong: int
    growth: float | None
    most_grown: tuple[str, float] | None
    mib: float
    after: list[tuple[str, float, float, dict[str, int], int]]


def figures(account: "Account") -> Figures:
    """What the account amounts to."""
    asked = account.outcome.asked
    spent, good = np.array([one.ms for one in asked]), [one for one in asked if one.status == 200]
    rung = [account.outcome.answers[one.answer].rung for one in good]
    totals = [sum(one.mib.values()) for one in account.samples]
    return Figures(
        requests=len(asked),
        per_second=round(len(asked) / account.plan.seconds, 1),
        p50_ms=round(float(np.percentile(spent, 50)), 1),
        p99_ms=round(float(np.percentile(spent, 99)), 1),
        most_ms=round(float(spent.max()), 1),
        late=int((spent > account.plan.timeout_ms + LATE_MS).sum()),
        statuses={str(status): count for status, count in sorted(Counter(one.status for one in asked).items())},
        error_share=round(1 - len(good) / len(asked), 5),
        rungs=dict(Counter(rung).most_common()),
        answers=len(account.outcome.answers),
        wrong=len(account.faults),
        growth=growth(account.samples, [one.at for one in account.kills]),
        most_grown=most_grown(account.samples),
        mib=round(float(np.median(totals)), 0) if totals else 0.0,
        after=_after(account),
    )


def growth(samples: Sequence["Sample"], kills: Sequence[float]) -> float | None:
    """By what share the memory of all processes grew from the first quarter to the last, outside of kills."""
    quiet = [one for one in samples if not any(0 <= one.at - kill < SETTLED_S for kill in kills)]
    quiet = [one for one in quiet if one.at >= SETTLED_S]
    quarter = len(quiet) // 4
    if quarter < 3:
        return None
    first, last = ([sum(one.mib.values()) for one in part] for part in (quiet[:quarter], quiet[-quarter:]))
    return round(float(np.median(last) / np.median(first)) - 1, 4)


def most_grown(samples: Sequence["Sample"]) -> tuple[str, float] | None:
    """The process that grew by the largest share of itself between when it had settled and its last sample."""
    lives: dict[str, list[tuple[float, float]]] = {}
    for one in samples:
        for name, mib in one.mib.items():
            lives.setdefault(name, []).append((one.at, mib))
    grown = {}
    for name, life in lives.items():
        settled = [mib for at, mib in life if at - life[0][0] >= SETTLED_S]
        if len(settled) >= 4 and settled[0] > 0:
            grown[name] = round(settled[-1] / settled[0] - 1, 4)
    return max(grown.items(), key=lambda one: one[1]) if grown else None


def _after(account: "Account") -> list[tuple[str, float, float, dict[str, int], int]]:
    """For each kill: part, when, seconds to the last answer that was not full before the next, rungs, errors."""
    found = []
    ends = [*(one.at for one in account.kills[1:]), account.plan.seconds]
    for kill, end in zip(account.kills, ends, strict=True):
        inside = [one for one in account.outcome.asked if kill.at <= one.at + one.ms / 1e3 - account.start < end]
        rungs, errors, last = Counter[str](), 0, kill.at
        for one in inside:
            rung = account.outcome.answers[one.answer].rung if one.status == 200 else ""
            errors += not rung
            if rung != FULL:
                last = max(last, one.at - account.start)
            if rung and rung != FULL:
                rungs[rung] += 1
        found.append((kill.part, kill.at, round(last - kill.at, 1), dict(rungs), errors))
    return found


def page(account: "Account", found: Figures, release: Release, command: str) -> str:
    """All of it as Markdown."""
    plan, ranker = account.plan, release.stages["ranker"]
    wanted = [
        ["wrong answers", f"{found.wrong} of {found.answers} different ones", "none"],
        [f"later than {plan.timeout_ms + LATE_MS:.0f} ms", f"{found.late}; the latest {found.most_ms:.0f} ms", "none"],
        ["errors", f"{found.error_share:.3%}", "at most .1 %"],
        ["memory of all processes", _share(found.growth), "at most 5 % more"],
        [
            "the process that grew most",
            f"{found.most_grown[0]}: {found.most_grown[1]:+.1%}" if found.most_grown else "",
            "",
        ],
    ]
    lines = [
        "# A service whose parts are killed",
        "",
        f"{plan.seconds / 60:g} minutes of {release.dataset} ({release.order}), release {release.number} "
        f"({ranker.backbone} {ranker.framework} {ranker.recipe}). {plan.clients} clients ask, each one request after "
        f"the other, for {plan.k} items of one of {plan.users} users within {plan.timeout_ms} ms; {plan.workers} "
        "workers. Clients, service, Triton and Redis share this machine.",
        f"{measured.sentence()}. `{command}`",
        "",
        *table(["", "measured", "wanted"], wanted),
        "",
        f"{found.requests:,} requests, {found.per_second:.1f} a second; p50 {found.p50_ms:.1f} ms, p99 "
        f"{found.p99_ms:.1f} ms; {found.mib:,.0f} MiB of all processes in the median. Statuses: "
        f"{_counts(found.statuses)} (0: the connection ended). Rungs: {_counts(found.rungs)}.",
        "",
        *table(
            ["killed", "at, s", "s until all answers were full", "other rungs until the next", "errors"],
            [
                [part, f"{at:.0f}", f"{last:.1f}", _counts(rungs), str(errors)]
                for part, at, last, rungs, errors in found.after
            ],
        ),
        "",
        *(f"- {one}" for one in account.faults[:10]),
        "",
        "![memory, rate, errors](soak.svg)",
        "",
    ]
    return "\n".join(lines)


def _share(share: float | None) -> str:
    return "too short to tell" if share is None else f"{share:+.1%}"


def _counts(counts: dict[str, int]) -> str:
    return ", ".join(f"{name} {count:,}" for name, count in counts.items()) or "none"


def plot(account: "Account", path: Path) -> None:
    """Memory by kind, answers a second by rung, and errors, over time; kills are dashed lines."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    step = min(_STEP_S, account.plan.seconds / 40)
    edges = np.arange(0, account.plan.seconds + step, step)
    with mpl.rc_context({"svg.hashsalt": "llmcf", "axes.spines.top": False, "axes.spines.right": False}):
        figure, (memory, rate, errors) = plt.subplots(3, 1, figsize=(9, 7), sharex=True, layout="constrained")
        _stack(memory, account.samples)
        for rung in dict.fromkeys(one.rung for one in account.outcome.answers):
            at = [
                one.at - account.start
                for one in account.outcome.asked
                if one.status == 200 and account.outcome.answers[one.answer].rung == rung
            ]
            rate.stairs(np.histogram(at, edges)[0] / step, edges, label=rung)
        failed = [one.at - account.start for one in account.outcome.asked if one.status != 200]
        errors.stairs(np.histogram(failed, edges)[0], edges, color="#c0392b", fill=True)
        for axes, label in ((memory, "MiB"), (rate, "answers a second"), (errors, f"errors in {step:g} s")):
            axes.set(ylabel=label, ylim=(0, None))
            for kill in account.kills:
                axes.axvline(kill.at, color="#7f8c8d", linestyle="--", linewidth=0.8)
        for kill in account.kills:
            memory.annotate(
                kill.part, (kill.at, 1), xycoords=("data", "axes fraction"), rotation=90, fontsize=7, va="top"
            )
        for axes in (memory, rate):
            axes.legend(frameon=False, fontsize=8, loc="center left", bbox_to_anchor=(1.0, 0.5))
        errors.set(xlabel="seconds", xlim=(0, account.plan.seconds))
        with storage.atomic_path(path) as beside:
            figure.savefig(beside, format="svg", metadata={"Date": None})
        plt.close(figure)


def _stack(axes, samples: Sequence["Sample"]) -> None:
    kinds = list(dict.fromkeys(name.rsplit(" ", 1)[0] for one in samples for name in one.mib))
    mib = [
        [sum(m for name, m in one.mib.items() if name.rsplit(" ", 1)[0] == kind) for one in samples] for kind in kinds
    ]
    if samples:
        axes.stackplot([one.at for one in samples], mib, labels=kinds, alpha=0.8)
