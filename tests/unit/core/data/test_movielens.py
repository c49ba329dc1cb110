import pytest

from core.data.movielens import files, read, split_title
from core.errors import UsageError
from tests import official_files


@pytest.mark.parametrize(
    ("raw", "release", "expected"),
    [
        ("Toy Story (1995)", "01-Jan-1995", ("Toy Story", "1995")),
        ("Usual Suspects, The (1995)", None, ("The Usual Suspects", "1995")),
        ("City of Lost Children, The (Cité des enfants perdus, La) (1995)", None,
         ("The City of Lost Children (Cité des enfants perdus, La)", "1995")),
        ("Land Before Time III: Giving (1995) (V)", None, ("Land Before Time III: Giving", "1995")),
        ("Two Friends (1986) ", None, ("Two Friends", "1986")),
        ("Paris, Texas (1984)", None, ("Paris, Texas", "1984")),
        ("2001: A Space Odyssey", "01-Jan-1968", ("2001: A Space Odyssey", "1968")),
        ("unknown", None, ("unknown", "")),
    ],
)  # fmt: skip
def test_title_and_year(raw, release, expected):
    assert split_title(raw, release) == expected


def test_official_files_become_raw_tables(source):
    tables = read(files(source))
    assert tables.items.slice(4, 1).to_pylist() == [
        {"raw_id": "5", "title": "The Story 5", "brand": "1975", "categories": ["Adventure", "Drama"]}
    ]
    assert tables.users.slice(0, 1).to_pylist() == [{"raw_id": "1", "age": 19, "gender": "F", "occupation": "writer"}]
    assert tables.interactions.num_rows == len((source / "u.data").read_text().splitlines())


def test_a_missing_file_is_named(tmp_path):
    official_files.write(tmp_path)
    (tmp_path / "u.item").unlink()
    with pytest.raises(UsageError, match=r"lacks u\.item"):
        files(tmp_path)


@pytest.mark.parametrize(
    ("name", "line", "complaint"),
    [
        ("u.data", "1\t2\t3", "3 fields instead of 4"),
        ("u.data", "1\tx\t3\t875232000", "item 'x' is not a whole number"),
        ("u.data", "999\t1\t3\t875232000", "user 999 has no line"),
        ("u.data", "1\t1\t6\t875232000", "rating 6 is not between 1 and 5"),
        ("u.data", "1\t1\t5\t99999999999", "timestamp 99999999999 is not between"),
        ("u.user", "1|-3|M|writer|10001", "age '-3' is not a whole number"),
        ("u.item", "1|Title (1990)", "2 fields instead of 24"),
        ("u.data", "", "1 fields instead of 4"),
    ],
)
def test_a_malformed_line_is_named_with_its_number(tmp_path, name, line, complaint):
    official_files.write(tmp_path)
    with (tmp_path / name).open("a") as file:
        file.write(line + "\n")
    number = len((tmp_path / name).read_text().splitlines())
    with pytest.raises(UsageError, match=complaint) as error:
        read(files(tmp_path))
    assert f"{name}, line {number}" in str(error.value)


def test_an_empty_file_is_an_error(tmp_path):
    official_files.write(tmp_path)
    (tmp_path / "u.data").write_text("")
    with pytest.raises(UsageError, match="is empty"):
        read(files(tmp_path))
