import pytest

from core.errors import UsageError
from core.settings import Workspace


@pytest.mark.parametrize("spelt", ["2026-10-01", "20261001", "2026-W40-4", "2026W404"])
def test_a_day_is_one_workspace_however_it_is_spelt(spelt: str):
    place = Workspace("movielens-100k", "published", spelt)
    assert place == Workspace("movielens-100k", "published", "2026-10-01")
    assert (place.as_of, place.root.name) == ("2026-10-01", "2026-10-01")
    assert place.collection_prefix == "movielens_100k_published_2026_10_01"


@pytest.mark.parametrize("spelt", ["yesterday", "", "2026-13-01", "2026-10-01T00:00", "Latest", "2026-10"])
def test_what_is_no_day_is_named(spelt: str):
    with pytest.raises(UsageError, match="is neither 'latest' nor a date"):
        Workspace("movielens-100k", "published", spelt)
