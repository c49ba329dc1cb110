"""The page of `benchmarks.daily`."""

from collections import Counter
from typing import TYPE_CHECKING

from benchmarks import measured
from core.markdown import table

if TYPE_CHECKING:
    from benchmarks.daily import Account, Asked

_TABLE = 12  # the longest verbs


def page(account: "Account", asked: "Asked", command: str) -> str:
    """What the account amounts to."""
    by_hand = sum(account.by_hand.values())
    kills = Counter(target for _, target in account.killed)
    told = ", ".join(f"{target} {count}" for target, count in sorted(kills.items()))
    seconds = [
        ("Airflow's own: the same DAGs with verbs that do nothing", account.own, ""),
        (f"a day by the scheduler, {account.verbs} verbs", account.first, ""),
        ("the same commands by hand", by_hand, ""),
        ("beyond Airflow's own, against by hand", account.first - account.own, _ratio(account, by_hand)),
        ("the day once more, where nothing has changed", account.again, f"{account.again - account.own:+.0f} s"),
        (f"the day through {len(account.killed)} kills", account.through_kills, ""),
    ]
    longest = sorted(account.by_hand.items(), key=lambda one: -one[1])[:_TABLE]
    return "\n".join(
        [
            "# A day by the real scheduler",
            "",
            f"{asked.dataset} as of {asked.day}, from files to a live release; {measured.sentence()}. `{command}`",
            "",
            *table(["", "seconds", "beyond Airflow's own"], [(what, f"{s:.0f}", more) for what, s, more in seconds]),
            "",
            f"Killed: {told or 'nothing'}; {account.cleared} runs were cleared. Of {account.steps} finished steps and "
            "releases, so many hold other bytes than after the first day:",
            "",
            *table(["", "others"], [(what, ", ".join(odd) or "none") for what, odd in account.odd.items()]),
            "",
            *table(["the longest verbs, by hand", "seconds"], [(name, f"{one:.1f}") for name, one in longest]),
            "",
        ]
    )


def _ratio(account: "Account", by_hand: float) -> str:
    return f"{(account.first - account.own) / by_hand:.2f} times"
