"""Pages out of templates: every value is escaped, no page loads anything from elsewhere or runs a script.

Text that strangers wrote (titles, ids, chains of thought) goes through the macros of `_parts.html`, which keep the
direction of its letters to itself.
"""

import hashlib
import re
import unicodedata
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape
from starlette.responses import HTMLResponse

_HERE = Path(__file__).parent
STYLE, ICON = _HERE / "style.css", _HERE / "icon.svg"
HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'; base-uri 'none'; "
        "frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",  # addresses name users; `no-referrer` would hide a form's origin from us, too
    "Cache-Control": "no-store",
}


def render(
    name: str,
    *,
    status: int = 200,
    headers: Mapping[str, str] | None = None,
    looks_after: bool = True,
    **values: Any,
) -> HTMLResponse:
    """The page of a template.

    Args:
        looks_after: the page is read where the service is looked after, and leads to the pages for that.
        values: what the template reads; `visitor` and `dataset` by every one, None where they are not known.
    """
    text = _environment().get_template(name).render(looks_after=looks_after, **values)
    return HTMLResponse(text, status, headers={**HEADERS, **(headers or {})})


@cache
def version() -> str:
    """A digest of the style sheet: its address changes with it, so that a browser may keep it for long."""
    return hashlib.sha256(STYLE.read_bytes()).hexdigest()[:12]


@cache
def _environment() -> Environment:
    made = Environment(
        loader=FileSystemLoader(_HERE / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters |= {"short": short, "plain": plain, "moment": moment, "lasting": lasting, "percent": percent}
    made.filters["coded"] = coded
    made.globals["style_version"] = version()
    return made


def short(text: str, most: int = 160) -> str:
    """The beginning of a text that is longer than a line or two."""
    return text if len(text) <= most else f"{text[: most - 1].rstrip()}…"


def plain(text: str, most: int = 60) -> str:
    """For places that hold no markup, such as a page's title: no signs that turn what follows around."""
    return short("".join(sign for sign in text if unicodedata.category(sign) not in {"Cc", "Cf", "Cs"}), most)


def coded(text: str) -> Markup:
    """Our own documentation, where `code` stands between backticks."""
    return Markup(re.sub(r"`([^`]+)`", r"<code>\1</code>", str(escape(text))))  # noqa: S704 - escaped just now


def moment(seconds: float) -> str:
    """A Unix time for people."""
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M:%S} UTC"


def lasting(seconds: float) -> str:
    """A time span for people, in its two largest units."""
    left, words = max(0, round(seconds)), []
    for unit, size in (("d", 86_400), ("h", 3600), ("min", 60), ("s", 1)):
        if left >= size or (unit == "s" and not words):
            words.append(f"{left // size} {unit}")
            left %= size
    return " ".join(words[:2])


def percent(part: float, whole: float) -> str:
    """A width for a bar, from 0 to 100."""
    return f"{100 * min(1.0, max(0.0, part / whole)):.2f}" if whole > 0 else "0"
