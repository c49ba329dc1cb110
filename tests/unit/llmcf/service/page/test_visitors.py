"""Keys in cookies, tags of forms, where forms come from, and where one may go on to."""

import asyncio
from http.cookies import SimpleCookie
from pathlib import Path
from types import SimpleNamespace

import pytest
from fastapi import Request, Response

from llmcf.service import keys
from llmcf.service.access import Door
from llmcf.service.keys import Key
from llmcf.service.page import visitors
from llmcf.service.page.visitors import COOKIE, Visitor
from llmcf.service.problems import Problem


@pytest.fixture
def key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("LLMCF_HOME", str(tmp_path))
    return keys.add("anna", "read")


def request(body: bytes = b"", scheme: str = "http", **headers: str) -> Request:
    async def receive() -> dict[str, object]:
        return {"type": "http.request", "body": body, "more_body": False}

    scope = {
        "type": "http",
        "method": "POST",
        "scheme": scheme,
        "server": ("shop", 80),
        "path": "/sign-in",
        "query_string": b"",
        "headers": [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()],
        "app": SimpleNamespace(state=SimpleNamespace(admin_port=None, service=SimpleNamespace(door=Door()))),
    }
    return Request(scope, receive)


def test_a_tag_is_of_one_visitor_and_one_act() -> None:
    anna, ben = (Visitor(Key(name, "admin", "d", ""), f"llmcf_{name}") for name in ("anna", "ben"))
    anna.check("promotion of release 2", anna.tag("promotion of release 2"))
    for act, tag in (
        ("promotion of release 3", anna.tag("promotion of release 2")),
        ("promotion of release 2", ben.tag("promotion of release 2")),
        ("promotion of release 2", ""),
        ("promotion of release 2", "ä\u202e"),
    ):
        with pytest.raises(Problem) as found:
            anna.check(act, tag)
        assert found.value.status == 403


def test_anybody_administers_nothing_and_has_no_tag() -> None:
    anybody = Visitor(Key("anybody", "write", "", ""), "")
    assert not anybody.administers
    with pytest.raises(Problem):
        anybody.check("x", anybody.tag("x"))


@pytest.mark.parametrize(
    ("headers", "own"),
    [
        ({"sec_fetch_site": "same-origin"}, True),
        ({"sec_fetch_site": "none"}, True),
        ({"sec_fetch_site": "cross-site"}, False),
        ({"sec_fetch_site": "same-site", "origin": "http://shop", "host": "shop"}, False),
        ({"origin": "http://shop:81", "host": "shop:81"}, True),
        ({"origin": "http://evil", "host": "shop"}, False),
        ({"origin": "null", "host": "shop"}, False),
        ({}, True),
    ],
    ids=str,
)
def test_a_form_from_elsewhere_is_refused(headers: dict[str, str], own: bool) -> None:
    work = visitors.form(request(b"a=1&b=%3Cx%3E&a=2", **headers))
    if own:
        assert asyncio.run(work) == {"a": "2", "b": "<x>"}
    else:
        with pytest.raises(Problem, match="403"):
            asyncio.run(work)


@pytest.mark.parametrize("body", [b"\xff\xfe=1", b"a=1&" * 50], ids=["no UTF-8", "many fields"])
def test_what_is_no_form_is_said(body: bytes) -> None:
    with pytest.raises(Problem) as found:
        asyncio.run(visitors.form(request(body)))
    assert found.value.status == 400


@pytest.mark.parametrize(
    ("address", "kept"),
    [
        ("/operations?first=1&second=2", True),
        ("/?q=%E2%80%AE", True),
        ("//evil", False),
        ("/\\evil", False),
        ("https://evil", False),
        ("javascript:alert(1)", False),
        ("/a\r\nSet-Cookie: x=1", False),
        ("/a\\b", False),
        ("", False),
        ("operations", False),
    ],
)
def test_nobody_is_sent_elsewhere(address: str, kept: bool) -> None:
    assert visitors.local(address) == (address if kept else "/")


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_key_is_kept_where_scripts_and_others_cannot_read_it(key: str, scheme: str) -> None:
    answer = Response()
    visitors.sign_in(request(scheme=scheme), answer, key)
    cookie = SimpleCookie(answer.headers["set-cookie"])[COOKIE]
    assert cookie.value == key
    assert cookie["httponly"]
    assert cookie["samesite"] == "strict"
    assert bool(cookie["secure"]) == (scheme == "https")
    assert not cookie["max-age"]


@pytest.mark.parametrize("wrong", ["", "llmcf_x", "ä\r\n", "\ud800"])
def test_what_is_no_key_sets_no_cookie(key: str, wrong: str) -> None:
    answer = Response()
    with pytest.raises(Problem) as found:
        visitors.sign_in(request(), answer, wrong)
    assert found.value.status == 401
    assert "set-cookie" not in answer.headers


def test_where_there_are_no_keys_nobody_signs_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LLMCF_HOME", str(tmp_path))
    with pytest.raises(Problem):
        visitors.sign_in(request(), Response(), "anything")
    assert visitors.reader(request(), cooked="left over").secret == ""


def test_a_key_that_is_removed_is_out_at_once(key: str) -> None:
    asked = request()
    assert visitors.reader(asked, cooked=key).key.name == "anna"
    keys.add("ben", "admin")
    keys.remove("anna")
    with pytest.raises(Problem):
        visitors.reader(asked, cooked=key)


def test_a_reader_does_not_administer(key: str) -> None:
    with pytest.raises(Problem) as found:
        visitors.admin(request(), cooked=key)
    assert found.value.status == 403
