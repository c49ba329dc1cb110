"""The page tells of what was measured, and of what verification refused."""

from benchmarks.index_page import page

FLAT = {"kind": "FLAT"}
SEARCHED = {"index": FLAT, "recall": 1.0, "p50_ms": 5.0, "p99_ms": 15.94}
BUILT = {"writing": 10.0, "indexing": 5.0, "all": 17.34}


def test_every_case_is_on_the_page() -> None:
    case = {
        "server": "lite", "milvus": "Milvus Lite 3.2.2", "size": 30_000, "index": FLAT, "efforts": [SEARCHED],
        "built": BUILT, "refreshed": BUILT, "changes": {"copied": True}, "process_mib": 1756, "server_mib": None,
        "disk_mib": 170,
    }  # fmt: skip
    refused = {
        "server": "server", "milvus": "Milvus server 2.3.5", "size": 30_000, "index": {"kind": "HNSW", "ef": 512},
        "refused": "recall@4 of home_cot_unverified.key under time and label is 0.918, below 0.97",
    }  # fmt: skip
    taken = {name: {"p50": time, "p99": 2 * time} for name, time in (("replica", 3.0), ("product", 2.0))}
    replica = {"server": "replica", "rows": 30_585, "candidates": 100, "milliseconds": taken}
    account = {"dataset": "beauty", "jitter": 0.3, "seed": 0, "command": "run", "cases": [replica, case, refused]}
    lines = page(account, "a machine").splitlines()
    assert any("Milvus Lite 3.2.2" in line and "1.000" in line and "15.9" in line for line in lines)
    assert any("17.3" in line and "yes" in line and "1,756" in line for line in lines)
    assert any("HNSW ef 512 does not go live: recall@4" in line and "0.918" in line for line in lines)
    assert any(line.startswith("| replica") and "1.50" in line for line in lines)
