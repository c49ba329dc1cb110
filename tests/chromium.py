"""Headless Chromium by its command line: a page's DOM, what its console says, how wide it is, and pictures of it.

Chromium's window is never narrower than 500 pixels, so a narrow page is looked at inside a frame; as no page of the
service lets itself be framed, that is a copy with its style sheet written into it.
"""

import json
import re
import shutil
import subprocess
from dataclasses import dataclass
from html import escape, unescape
from pathlib import Path

import pytest

from core import environments
from core.errors import LlmcfError

_FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--hide-scrollbars",
    "--enable-logging=stderr",
]
_WITHIN_S = 60
_LINK = re.compile(r'<link rel="stylesheet"[^>]*>')
# How large the document is, and which elements end right of the window although nothing around them scrolls.
_MEASURE = """
const frame = document.querySelector("iframe");
frame.addEventListener("load", () => {
  const page = frame.contentDocument, root = page.documentElement, out = [];
  const cuts = one => ["auto", "scroll", "hidden"].includes(frame.contentWindow.getComputedStyle(one).overflowX);
  const scrolls = one => one && (cuts(one) || scrolls(one.parentElement));
  const reaches = one => one.getBoundingClientRect().right > root.clientWidth + 1;
  for (const one of page.body.querySelectorAll("*"))
    if (reaches(one) && !scrolls(one)) out.push(one.outerHTML.slice(0, 200));
  document.querySelector("pre").textContent = JSON.stringify(
    {width: root.scrollWidth, height: root.scrollHeight, window: root.clientWidth, out});
});
"""


@dataclass(frozen=True, slots=True)
class Seen:
    """A page after it was loaded: its DOM as HTML, and the lines of its console."""

    dom: str
    console: list[str]


@dataclass(frozen=True, slots=True)
class Size:
    """In pixels: of the whole document, and of the window; `out` are elements that stick out to the right."""

    width: int
    height: int
    window: int
    out: list[str]


@dataclass(frozen=True, slots=True)
class Chromium:
    """Each call is a browser of its own, with a profile that nobody has used."""

    binary: str
    folder: Path

    def see(self, address: str) -> Seen:
        ran = self._run("--dump-dom", address)
        console = [line for line in ran.stderr.splitlines() if "CONSOLE" in line]
        return Seen(ran.stdout, console)

    def measure(self, page: str, style: str, width: int) -> Size:
        """How large a page's HTML becomes in a window that is `width` wide."""
        frame = self._frame(page, style, width, 800, f"<pre></pre><script>{_MEASURE}</script>")
        told = re.search(r"<pre>(.*?)</pre>", self._run("--dump-dom", frame.as_uri()).stdout, re.DOTALL)
        assert told
        return Size(**json.loads(unescape(told[1])))

    def picture(self, page: str, style: str, width: int, target: Path, *, dark: bool = False) -> None:
        """The whole page as a PNG."""
        height = min(self.measure(page, style, width).height, 12_000)
        frame = self._frame(page, style, width, height)
        # Chromium's preferred colour scheme: 0 is dark
        scheme = f"--blink-settings=preferredColorScheme={0 if dark else 1}"
        self._run(f"--screenshot={target}", f"--window-size={width},{height}", scheme, frame.as_uri())

    def _frame(self, page: str, style: str, width: int, height: int, after: str = "") -> Path:
        whole = escape(_LINK.sub(lambda _: f"<style>{style}</style>", page))
        path = self.folder / "frame.html"
        path.write_text(
            "<!doctype html><meta charset=utf-8><meta name=color-scheme content='light dark'>"
            "<style>body{margin:0}iframe{border:0;display:block}</style>"
            f'<iframe width="{width}" height="{height}" srcdoc="{whole}"></iframe>{after}',
            encoding="utf-8",
        )
        return path

    def _run(self, *options: str) -> subprocess.CompletedProcess[str]:
        profile = self.folder / "profile"
        shutil.rmtree(profile, ignore_errors=True)
        ran = subprocess.run(
            [self.binary, *_FLAGS, f"--user-data-dir={profile}", *options],
            capture_output=True,
            text=True,
            timeout=_WITHIN_S,
            check=False,
        )
        assert ran.returncode == 0, ran.stderr[-2000:]
        return ran


def find(folder: Path) -> Chromium:
    """The browser of this machine; skips the test where there is none."""
    try:
        return Chromium(str(environments.chromium()), folder)
    except LlmcfError as error:
        pytest.skip(str(error))
