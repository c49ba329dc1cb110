"""Which Milvus answers."""

import pytest

from ict.milvus.connection import Server


class Told:
    """A client whose Milvus says what version it is."""

    def __init__(self, version: str) -> None:
        self.version = version

    def get_server_version(self) -> str:
        return self.version


@pytest.mark.parametrize(
    ("told", "named", "several"),
    [
        ("milvus_lite-3.2.2", "Milvus Lite 3.2.2", True),
        ("v2.3.5-lite", "Milvus server 2.3.5-lite", False),
        ("v2.4.0", "Milvus server 2.4.0", True),
        ("2.6.1", "Milvus server 2.6.1", True),
        ("v3.0", "Milvus server 3.0", True),
    ],
)
def test_its_name_and_what_it_takes(told: str, named: str, several: bool) -> None:
    server = Server.of(Told(told))  # pyright: ignore[reportArgumentType]
    assert str(server) == named
    assert server.several_vectors is several
