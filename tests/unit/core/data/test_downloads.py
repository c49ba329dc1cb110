"""A server on loopback that breaks off, knows ranges or does not, and is sometimes gone."""

import gzip
import random
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from core.data import downloads
from core.errors import LlmcfError, Unavailable

BODY = gzip.compress(random.Random(1).randbytes(300_000))


class Server:
    """Serves BODY at /data.gz; each request takes the next number of bytes after which to break off (None: whole)."""

    def __init__(self, breaks=(), *, ranges: bool = True, body: bytes = BODY) -> None:
        self.asked: list[str | None] = []
        pending, asked = list(breaks), self.asked

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                asked.append(self.headers.get("Range"))
                if self.path != "/data.gz":
                    self.send_error(404)
                    return
                start = int(self.headers["Range"][6:-1]) if ranges and self.headers.get("Range") else 0
                self.send_response(206 if start else 200)
                self.send_header("Content-Length", str(len(body) - start))
                self.end_headers()
                stop = pending.pop(0) if pending else None
                self.wfile.write(body[start : None if stop is None else start + stop])

            def log_message(self, format: str, *args: object) -> None: ...

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.http.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self.http.server_port}"


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("LLMCF_HOME", str(tmp_path))
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)


def test_a_broken_download_goes_on_where_it_stopped():
    server = Server([100_000, 50_000])
    assert downloads.fetch(server.url, "data.gz", wait=0).read_bytes() == BODY
    assert server.asked == [None, "bytes=100000-", "bytes=150000-"]


def test_a_server_without_ranges_starts_anew():
    server = Server([100_000], ranges=False)
    assert downloads.fetch(server.url, "data.gz", wait=0).read_bytes() == BODY


def test_what_is_there_is_not_fetched_again_but_verified():
    server = Server()
    path = downloads.fetch(server.url, "data.gz", wait=0)
    assert downloads.fetch(server.url, "data.gz", wait=0) == path
    assert len(server.asked) == 1
    path.write_bytes(BODY[:-1] + b"x")
    with pytest.raises(LlmcfError, match="has changed since it was fetched"):
        downloads.fetch(server.url, "data.gz", wait=0)


def test_a_killed_download_is_taken_up_by_the_next_run(tmp_path):
    (tmp_path / "downloads").mkdir()
    (tmp_path / "downloads" / "data.gz.part").write_bytes(BODY[:1234])
    server = Server()
    assert downloads.fetch(server.url, "data.gz", wait=0).read_bytes() == BODY
    assert server.asked == ["bytes=1234-"]


def test_garbage_is_not_kept(tmp_path):
    with pytest.raises(LlmcfError, match="no whole gzip file"):
        downloads.fetch(Server(body=b"<html>login</html>").url, "data.gz", wait=0)
    assert not list((tmp_path / "downloads").glob("data.gz*"))


def test_a_missing_file_and_a_missing_server_are_told():
    server = Server()
    with pytest.raises(LlmcfError, match=r"other\.gz answers 404; give the file by --source"):
        downloads.fetch(server.url, "other.gz", wait=0)
    server.http.shutdown()
    server.http.server_close()
    with pytest.raises(Unavailable, match=r"could not be fetched.*run again to go on"):
        downloads.fetch(server.url, "data.gz", wait=0)
