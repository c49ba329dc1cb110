"""A shop's export as people hand it over: clicks, goods and customers in CSV, with a `dataset.toml`, to be spoilt."""

import csv
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

Row = dict[str, Any]
START = datetime(2025, 3, 1, tzinfo=UTC)
TOML = {
    "interactions": {"file": "clicks.csv", "user": "who", "item": "sku", "timestamp": "at", "unit": "iso"},
    "items": {"file": "goods.csv", "item": "sku", "title": "name", "brand": "maker"},
    "users": {"file": "people.csv", "user": "who", "age": "age", "gender": "sex"},
}


class Shop:
    """Tables of rows, to be changed and then written. Every customer takes another run of the goods, one a day."""

    def __init__(self, *, people: int = 12, goods: int = 10, taken: int = 5) -> None:
        self.goods: list[Row] = [{"sku": f"g{n}", "name": f"Good {n}", "maker": f"m{n % 3}"} for n in range(goods)]
        self.people: list[Row] = [{"who": f"p{n}", "age": f"{30 + n}", "sex": "FM"[n % 2]} for n in range(people)]
        self.clicks: list[Row] = [
            {"at": START + timedelta(days=turn, minutes=n), "who": f"p{n}", "sku": f"g{(n + turn) % goods}"}
            for turn in range(taken)
            for n in range(people)
        ]
        self.toml: dict[str, Any] = {name: dict(table) for name, table in TOML.items()}

    def click(self, who: str, sku: str, day: float) -> None:
        self.clicks.append({"at": START + timedelta(days=day), "who": who, "sku": sku})

    def write(self, folder: Path, **form: Any) -> Path:
        """The folder with all four files; `form` is how the clicks are written."""
        folder.mkdir(parents=True, exist_ok=True)
        table(folder / "clicks.csv", self.written(), **form)
        table(folder / "goods.csv", self.goods)
        table(folder / "people.csv", self.people)
        describe(folder, self.toml)
        return folder

    def written(self) -> list[Row]:
        """The clicks with their times as text; times that are no moments stay what they are."""
        return [
            {**row, "at": f"{row['at']:%Y-%m-%dT%H:%M:%SZ}" if isinstance(row["at"], datetime) else row["at"]}
            for row in self.clicks
        ]


def table(path: Path, rows: Sequence[Mapping[str, Any]], *, encoding: str = "utf-8", delimiter: str = ",") -> None:
    with path.open("w", encoding=encoding, newline="") as stream:
        writer = csv.DictWriter(stream, list(rows[0]), delimiter=delimiter, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def describe(folder: Path, toml: Mapping[str, Any], encoding: str = "utf-8") -> None:
    tops = [f"{key} = '{value}'" for key, value in toml.items() if isinstance(value, str)]
    tables = [
        "\n".join([f"[{name}]", *(f"{key} = '{value}'" for key, value in part.items())])
        for name, part in toml.items()
        if not isinstance(part, str)
    ]
    (folder / "dataset.toml").write_text("\n".join([*tops, *tables]) + "\n", encoding=encoding)
