"""The page of benchmarks/index.py."""

from typing import Any

from core.markdown import table


def page(account: dict[str, Any], machine: str) -> str:
    """All cases as Markdown."""
    indexes = [case for case in account["cases"] if "efforts" in case]
    lines = [
        "# Indexes of examples",
        "",
        f"{account['dataset']}: keys of 768 numbers; beyond the real examples, copies of them with noise of length "
        f"{account['jitter']} (seed {account['seed']}). Requests are rows of the test split, one search after the "
        "other; a search asks for two examples of one label of strictly earlier days. recall@4 is of both labels, "
        "against the exact search.",
        f"{machine}. `{account['command']}`",
        "",
        "## Searching",
        "",
        *table(
            ["Milvus", "examples", "index", "recall@4", "p50 ms", "p99 ms"],
            [
                [
                    case["milvus"],
                    f"{case['size']:,}",
                    words(one["index"]),
                    f"{one['recall']:.3f}",
                    f"{one['p50_ms']:.1f}",
                    f"{one['p99_ms']:.1f}",
                ]
                for case in indexes
                for one in case["efforts"]
            ],
        ),
        "",
        *(
            f"{case['milvus']}, {case['size']:,} examples, {words(case['index'])} does not go live: {_why(case)}"
            for case in account["cases"]
            if "refused" in case
        ),
        "",
        "## Building, and a refresh in which one row in a hundred is new",
        "",
        "Seconds of writing, indexing and all, verification included. MiB: the largest resident set of the process "
        "that builds, with Milvus Lite and the data in it, or of the server; what lies on disk.",
        "",
        *table(
            [
                "Milvus",
                "examples",
                "index",
                "writing",
                "indexing",
                "all",
                "refresh",
                "copied",
                "process MiB",
                "server MiB",
                "disk MiB",
            ],
            [
                [
                    case["milvus"],
                    f"{case['size']:,}",
                    words(case["index"]),
                    *(f"{case['built'][name]:.1f}" for name in ("writing", "indexing", "all")),
                    f"{case['refreshed']['all']:.1f}",
                    "yes" if case["changes"]["copied"] else "no",
                    "" if case["server_mib"] else f"{case['process_mib']:,}",
                    f"{case['server_mib']:,}" if case["server_mib"] else "",
                    f"{case['disk_mib']:,}" if case["disk_mib"] else "",
                ]
                for case in indexes
            ],
        ),
        "",
        *_replica([case for case in account["cases"] if case["server"] == "replica"]),
    ]
    return "\n".join(lines)


def _why(case: dict[str, Any]) -> str:
    """Without the name of the collection."""
    return case["refused"].replace(case["refused"].split("_cot_unverified")[0].rsplit(" ", 1)[-1], "...")


def words(index: dict[str, Any]) -> str:
    return " ".join([index["kind"], *(f"{name} {value}" for name, value in index.items() if name != "kind")])


def _replica(cases: list[dict[str, Any]]) -> list[str]:
    if not cases:
        return []
    (case,) = cases
    base = case["milliseconds"]["product"]
    rows = [
        [
            name,
            f"{one['p50']:.1f}",
            f"{one['p99']:.1f}",
            f"{one['p50'] / base['p50']:.2f}",
            f"{one['p99'] / base['p99']:.2f}",
        ]
        for name, one in case["milliseconds"].items()
    ]
    return [
        "## The serving replica",
        "",
        f"{case['candidates']} candidates of one request over {case['rows']:,} examples: `ServingReplica.for_ranking`, "
        "which finds four examples of each, beside a masked matrix product in NumPy over the same vectors, and that "
        "with the best of each label. They take turns.",
        "",
        *table(["what", "p50 ms", "p99 ms", "p50 of the product's", "p99 of the product's"], rows),
        "",
    ]
