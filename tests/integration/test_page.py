"""The page of a running service, asked as browsers do and looked at in one; titles are as hostile as can be."""

import re
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from core.data import tables
from core.settings import Workspace
from llmcf.service import keys, state
from llmcf.service.page import rendering
from llmcf.service.page.visitors import COOKIE
from llmcf.service.store import Store
from llmcf.serving import manifest, releases
from llmcf.serving.manifest import Release
from tests import chromium
from tests.chromium import Chromium
from tests.online_release import make_release
from tests.running_service import Running, run_service

pytestmark = pytest.mark.integration

TITLES = (
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "\u202eright to left, and <|im_start|>system",
    "x" * 10_000,
    "many words " * 900,
)


@pytest.fixture(scope="module")
def ws(online: Workspace) -> Iterator[Workspace]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LLMCF_FEAST_UI", "http://feast.example:8888")
        yield online


@pytest.fixture(scope="module")
def made(ws: Workspace) -> list[Release]:
    """Two releases, the first one live, whose items have hostile titles."""
    both = [make_release(ws, 0), make_release(ws, 1, live=False)]
    for release in both:
        path = release.folder / manifest.CATALOGUE
        names = pq.read_table(path)
        titles = [TITLES[at % len(TITLES)] for at in range(names.num_rows)]
        column = names.schema.get_field_index("title")
        pq.write_table(names.set_column(column, names.schema.field(column), pa.array(titles)), path)
    return both


@pytest.fixture(scope="module")
def service(ws: Workspace, made: list[Release], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with run_service(ws.dataset, tmp_path_factory.mktemp("service") / "log", "--workers", "2") as running:
        yield running


@pytest.fixture(scope="module")
def user(ws: Workspace) -> str:
    return tables.users(ws)["raw_id"][3].as_py()


@pytest.fixture
def browser(tmp_path: Path) -> Chromium:
    return chromium.find(tmp_path)


@pytest.fixture(scope="module")
def addresses(ws: Workspace, user: str) -> dict[str, str]:
    item = tables.items(ws)["raw_id"][5].as_py()
    return {
        "start": "/",
        "person": f"/?q={user}&k=5",
        "stranger": "/?q=%3Cscript%3E%E2%80%AE",
        "item": f"/?kind=item&q={item}",
        "titles": "/?kind=title&q=alert",
        "no title": "/?kind=title&q=%3Cb%3E" + "y" * 190,
        "operations": "/operations?first=1&second=2",
        "documentation": "/docs",
        "nowhere": "/nowhere",
        "too long": "/?q=" + "z" * 10_000,
        "sign in": "/sign-in",
    }


def page(service: Running, address: str, **headers: str) -> httpx.Response:
    return service.http.get(address, headers={"Accept": "text/html", **headers})


def test_a_user_is_shown_with_all_that_the_api_tells(service: Running, user: str) -> None:
    shown = page(service, f"/?q={user}&k=3")
    assert shown.status_code == 200
    identity = re.search(r'href="/answers/(\w+)"', shown.text)
    assert identity
    told = service.http.get(f"/recommendations/{identity[1]}").json()
    assert len(told["items"]) == 3
    for one in told["items"]:
        assert f"P(click)</abbr> {one['score']:.4f}" in shown.text
        for example in one["reason"]["examples"]:
            assert example["chain_of_thought"] in shown.text
    assert "The examples" in shown.text
    for stage in told["served_by"]["milliseconds"]:
        assert f'<th scope="row">{stage}</th>' in shown.text
    again = page(service, f"/answers/{identity[1]}")
    assert again.status_code == 200
    assert told["items"][0]["reason"]["examples"][0]["chain_of_thought"] in again.text
    following = re.search(r'class="button" href="([^"]+cursor[^"]+)"', shown.text)
    assert following
    more = page(service, following[1].replace("&amp;", "&"))
    assert more.status_code == 200
    assert "P(click)" in more.text


def test_problems_are_pages_for_people_and_problems_for_programs(service: Running) -> None:
    for address, status in (
        ("/nowhere", 404),
        ("/answers/nothing", 404),
        ("/?q=a&k=99", 422),
        ("/?q=a&kind=b", 422),
        ("/?q=a&scene=nowhere", 400),
        ("/?q=a&cursor=x", 400),
        ("/operations?first=1&second=99", 400),
        ("/operations/promotion?release=1", 403),
        ("/operations?done=nothing", 422),
        ("/?q=" + "z" * 10_000, 422),
    ):
        found = page(service, address)
        assert (found.status_code, found.headers["content-type"]) == (status, "text/html; charset=utf-8"), address
        assert f"({status})" in found.text
        assert found.headers["content-security-policy"] == rendering.HEADERS["Content-Security-Policy"]
    for address in ("/nowhere", "/recommendations/nothing", "/items?k=0"):
        found = service.http.get(address)
        assert found.headers["content-type"] == "application/problem+json", address
    assert page(service, "/users/nobody").headers["content-type"] == "application/problem+json"


def test_the_page_hides_no_route_of_the_api(service: Running) -> None:
    document = service.http.get("/openapi.json").json()
    assert "/recommendations" in document["paths"]
    assert not {"/", "/operations", "/docs", "/sign-in"} & set(document["paths"])
    assert service.http.get("/items").headers["content-type"] == "application/json"
    for gone in ("/redoc", "/docs/oauth2-redirect"):
        assert service.http.get(gone).status_code == 404


def test_traffic_of_all_workers_is_counted(service: Running, user: str) -> None:
    end = time.monotonic() + 30
    while "Nothing is counted yet" in page(service, "/operations").text:
        assert time.monotonic() < end
        time.sleep(0.5)

    def counted() -> int:
        found = re.search(
            r"<code><bdi>/users/\{identity\}</bdi></code></th><td[^>]*>(\d+)<", page(service, "/operations").text
        )
        return int(found[1]) if found else 0

    before = counted()
    for _ in range(20):
        with httpx.Client(base_url=service.http.base_url) as http:  # another connection may reach another worker
            assert http.get(f"/users/{user}").status_code == 200
    assert counted() == before + 20


def test_a_browser_finds_nothing_amiss(service: Running, addresses: dict[str, str], browser: Chromium) -> None:
    """No word in its console: no script was refused, nothing is missing, nothing came from elsewhere."""
    for name in ("person", "operations", "documentation"):
        seen = browser.see(f"{str(service.http.base_url).rstrip('/')}{addresses[name]}")
        assert seen.console == [], name
        assert seen.dom.count("<h1") == 1
        assert "<script" not in seen.dom
        assert "alert(1)" in seen.dom or name != "person"


def test_a_browser_says_what_it_refuses(browser: Chromium, tmp_path: Path) -> None:
    """Or the test before this one could not fail."""
    bad = tmp_path / "bad.html"
    policy = "<meta http-equiv=Content-Security-Policy content=\"default-src 'none'\">"
    bad.write_text(f"<!doctype html>{policy}<style>p{{color:red}}</style><p>x", encoding="utf-8")
    assert "Content Security Policy" in " ".join(browser.see(bad.as_uri()).console)
    wide = browser.measure("<!doctype html><meta name=viewport><p style='width:50em'>x</p>", "", 380)
    assert wide.width > 380
    assert len(wide.out) == 1


def test_nothing_sticks_out_of_a_narrow_window(service: Running, addresses: dict[str, str], browser: Chromium) -> None:
    style = service.http.get("/page/style.css").text
    for name, address in addresses.items():
        text = page(service, address).text.replace("<details>", "<details open>")
        size = browser.measure(text, style, 380)
        assert (size.window, size.width, size.out) == (380, 380, []), name


def test_administrators_sign_in_and_choose(service: Running, ws: Workspace, made: list[Release]) -> None:
    """The last test of this service: from here on it has keys."""
    first, second = (one.number for one in made)
    secret, reading = keys.add("anna", "admin"), keys.add("ben", "read")
    with httpx.Client(base_url=service.http.base_url, headers={"Accept": "text/html"}, timeout=30.0) as anna:
        asked = anna.get("/operations?first=1")
        assert asked.status_code == 401
        assert 'name="next" value="/operations?first=1"' in asked.text
        assert anna.post("/sign-in", data={"key": "llmcf_wrong"}).status_code == 401
        assert COOKIE not in anna.cookies
        signed = anna.post("/sign-in", data={"key": secret, "next": "//evil"})
        assert (signed.status_code, signed.headers["location"]) == (303, "/")
        asked = anna.get(f"/operations/promotion?release={second}")
        tag = re.search(r'name="release" value="\d+">\s*<input type="hidden" name="tag" value="(\w+)"', asked.text)
        assert tag
        form = {"release": str(second), "tag": tag[1]}
        for wrong, headers in (
            ({**form, "tag": ""}, {}),
            ({**form, "release": str(first)}, {}),
            (form, {"Sec-Fetch-Site": "cross-site"}),
            (form, {"Origin": "http://evil"}),
        ):
            assert anna.post("/operations/promotion", data=wrong, headers=headers).status_code == 403
        assert anna.post("/operations/promotion", data={**form, "release": "x"}).status_code == 400
        assert live(ws) == first
        assert anna.post("/operations/promotion", data=form).headers["location"] == "/operations?done=promotion"
        wait(ws, second)
        shown = anna.get("/operations")
        assert f"promote release {second}" in shown.text
        back = anna.get(f"/operations/rollback?release={first}").text
        tag = re.search(r'name="release" value="\d+">\s*<input type="hidden" name="tag" value="(\w+)"', back)
        assert tag
        assert anna.post("/operations/rollback", data={"release": str(first), "tag": tag[1]}).status_code == 303
        wait(ws, first)
        out = re.search(r'action="/sign-out">.*?name="tag" value="(\w+)"', anna.get("/").text, re.DOTALL)
        assert out
        assert anna.post("/sign-out", data={}).status_code == 403
        assert anna.post("/sign-out", data={"tag": out[1]}).status_code == 303
        assert anna.get("/").status_code == 401
    with httpx.Client(base_url=service.http.base_url, cookies={COOKIE: reading}) as ben:
        shown = ben.get("/operations")
        assert "Audit log" not in shown.text
        assert "/operations/promotion" not in shown.text
        assert ben.get(f"/operations/promotion?release={second}").status_code == 403
        assert ben.post("/operations/promotion", data={"release": str(second), "tag": "x"}).status_code == 403
        assert ben.post(f"/releases/{second}/promotion").status_code == 401, "a cookie opens no route of the API"
    told = [(who, act, outcome) for _, who, act, outcome in Store(state.folder(ws.dataset) / "service.db").acts()]
    assert told == [
        ("anna", f"roll back to release {first}", "accepted"),
        ("anna", f"promote release {second}", "accepted"),
    ]


def live(ws: Workspace) -> int:
    found = releases.pointer(ws.dataset)
    assert found is not None
    return found.release


def wait(ws: Workspace, number: int) -> None:
    """Until every worker answers with a release."""
    end = time.monotonic() + 60
    while set(state.workers(state.folder(ws.dataset)).values()) != {number}:
        assert time.monotonic() < end
        time.sleep(0.05)
