"""What comes out of Milvus as columns."""

from ict.milvus.collection import _column


def test_one_long_text_makes_the_others_no_longer() -> None:
    texts = ["a" * 8000, *["b"] * 1000]
    column = _column(texts, 0)
    assert column.tolist() == texts
    assert column.nbytes < 100_000, "NumPy's own texts are all as wide as the widest: 32 MB"


def test_columns_are_of_their_kind() -> None:
    assert _column([[1, 2], [3, 4]], 2).dtype == "float32"
    assert _column([3, 4], 0).dtype == "int64"
    assert _column([[5], [6, 7]], 0).tolist() == [[5, 0], [6, 7]]
