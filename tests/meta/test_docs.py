"""The pages say what is there: every path, link, command, option, variable and target that they name exists."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.core import TyperGroup

from core.data.described import _KEYS, _TOP
from llmcf import reference
from tests.meta.test_layout import PROJECT
from tests.meta.test_remedies import COMMAND, GROUPS, TARGETS, parse

PAGES = [PROJECT / name for name in ("README.md", "ARCHITECTURE.md")] + sorted((PROJECT / "docs").rglob("*.md"))
DECISIONS = PROJECT / "docs" / "decisions"
WITHOUT_COMMANDS = {"ARCHITECTURE.md", "reference.md", "method.md", "add-a-backbone.md", "hardware.md"}
# Made by running something:
MADE = ("var/", "runs/", ".envs/", ".venv/", "trained/", "check/", "triton_models/releases/", "triton_models/live/")
FILES = {path.name for path in PROJECT.glob("[!.]*/**/*.*") if "var" not in path.parts} | {"model.py"}
FOREIGN = {"--help"}
FENCE = re.compile(r"^```(\w*)\n(.*?)^```", flags=re.MULTILINE | re.DOTALL)
SPAN = re.compile(r"`([^`\n]+)`")
LINK = re.compile(r"\]\(([^)\s]+)\)")
SHELL = re.compile(r"\s(?:\|\|?|&&?|>|2>)(?:\s|$)")  # where a shell's own words begin
OURS = re.compile(r"(?:[A-Z_]+=\S+ )*(?:\.venv/bin/(?:python -m )?)?(llmcf .*)")
OPTIONS = {
    name for verb in reference.verbs().values() for one in verb.params for name in (*one.opts, *one.secondary_opts)
}
VARIABLES = {row[0].strip("`") for row in reference.variables()}
OF_DAGS = {
    name for path in (PROJECT / "dags").glob("*.py") for name in re.findall(r"\"(LLMCF_[A-Z_]+)\"", path.read_text())
}


def spans(page: Path) -> list[str]:
    """What a page sets in code, outside of blocks."""
    return SPAN.findall(FENCE.sub("", page.read_text(encoding="utf-8")))


def lines(page: Path) -> Iterator[str]:
    """The command lines in a page's blocks, a broken one joined."""
    for kind, block in FENCE.findall(page.read_text(encoding="utf-8")):
        if kind in ("", "sh"):
            yield from block.replace("\\\n", " ").splitlines()


def command(line: str) -> str | None:
    """The `llmcf` command of a line, with a number for N and a word for <this>; None if it is another's."""
    found = OURS.fullmatch(SHELL.split(re.sub(r"<[^>]*>", "word", line).strip())[0])
    if found is None:
        return None
    return shlex.join("7" if word == "N" else word for word in shlex.split(found[1], comments=True))


def names_of(page: Path) -> Iterator[str]:
    """Paths that a page names in code: with a slash or a file's ending, and nothing to be filled in."""
    for said in spans(page):
        if re.fullmatch(r"[\w.-]+(/[\w.-]+)*/?", said) and ("/" in said or re.search(r"\.(py|md|toml|svg)$", said)):
            yield said


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_parse(page: Path) -> None:
    found = [asked for line in lines(page) if (asked := command(line))]
    for said in spans(page):
        asked = command(said) if said.startswith("llmcf ") and not said.startswith("llmcf <") else None
        if asked and " --" not in asked:  # the name of a verb or of a group, in a sentence
            words, group = " ".join(asked.split()[1:3]), COMMAND.commands.get(asked.split()[1])  # pyright: ignore[reportAttributeAccessIssue]
            known = words in GROUPS if isinstance(group, TyperGroup) and " " in words else group is not None
            assert known, said
        elif asked:
            found.append(asked)
    for asked in found:
        if "--help" not in asked:
            parse(asked)
    assert found or page.parent == DECISIONS or page.name in WITHOUT_COMMANDS


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_paths_and_links_exist(page: Path) -> None:
    for said in names_of(page):
        if "/" not in said:
            assert said in FILES or (PROJECT / said).exists(), said
        elif not said.startswith(MADE):
            assert (PROJECT / said).exists() or (page.parent / said).exists(), said
    text = page.read_text(encoding="utf-8")
    assert not re.findall(r"\]\([^)\s]*\n", text), "a link that a line's end cuts is none"
    for target in LINK.findall(text):
        file, _, anchor = target.partition("#")
        if not target.startswith("http"):
            assert not file or (page.parent / file).exists(), target
            assert not anchor or anchor in anchors((page.parent / file) if file else page), target


def anchors(page: Path) -> set[str]:
    titles = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_options_variables_and_targets_exist(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    named = {said.split()[0].split("=")[0] for said in spans(page) if said.startswith("--")}
    assert not named - OPTIONS - FOREIGN
    assert not set(re.findall(r"\bLLMCF_[A-Z_]+\b", text)) - VARIABLES - OF_DAGS
    assert not {said.split()[1] for said in spans(page) if re.fullmatch(r"make [a-z-]+", said)} - set(TARGETS)


def test_every_decision_is_numbered_short_and_linked() -> None:
    linked = LINK.findall((PROJECT / "ARCHITECTURE.md").read_text(encoding="utf-8"))
    pages = sorted(DECISIONS.glob("*.md"))
    for number, page in enumerate(pages, start=1):
        text = page.read_text(encoding="utf-8")
        assert page.name.startswith(f"{number:04}-") and text.startswith(f"# {number}. "), page.name
        assert re.findall(r"^\*\*(\w+)\.\*\*", text, flags=re.MULTILINE) == ["Context", "Decision", "Consequences"]
        assert len(text.splitlines()) <= 25, page.name
        assert str(page.relative_to(PROJECT)) in linked, page.name


def test_the_reference_is_what_is_generated() -> None:
    told = reference.PLACE.read_text(encoding="utf-8")
    assert told == reference.page(), "run `python -m llmcf.reference`"


def test_the_reference_leaves_no_verb_and_no_variable_out() -> None:
    settings = (PROJECT / "core" / "settings.py").read_text(encoding="utf-8")
    assert set(re.findall(r'"(LLMCF_[A-Z_]+)"', settings)) == VARIABLES
    assert set(reference.verbs()) > GROUPS


def test_the_method_has_every_section_that_the_code_cites() -> None:
    titles = re.findall(
        r"^## (\d+)\. ", (PROJECT / "docs" / "method.md").read_text(encoding="utf-8"), flags=re.MULTILINE
    )
    cited = set()
    for package in ("core", "ict", "llm", "ranking", "retrieval_stage", "llmcf", "tests"):
        for path in (PROJECT / package).rglob("*.py"):
            for numbers in re.findall(
                r"METHOD(?:\.md)?(?: section)? (\d+(?: and \d+)?)", path.read_text(encoding="utf-8")
            ):
                cited |= set(numbers.split(" and "))
    assert len(cited) > 4
    assert cited <= set(titles)


def test_the_page_about_data_names_every_key_of_a_description() -> None:
    text = (PROJECT / "docs" / "your-data.md").read_text(encoding="utf-8")
    keys = {key for required, optional in _KEYS.values() for key in (*required, *optional)} | set(_TOP)
    assert not {key for key in keys if f"`{key}`" not in text}


@pytest.mark.parametrize(
    ("line", "asked"),
    [
        (".venv/bin/llmcf release promote --release N  # by hand", "llmcf release promote --release 7"),
        ("LLMCF_HOME=/srv/a llmcf demo", "llmcf demo"),
        ("llmcf data add <name> --source <folder>", "llmcf data add word --source word"),
        ("llmcf serve --port 8080 > serve.log 2>&1 &", "llmcf serve --port 8080"),
        ('llmcf release check || echo "exit code $?"', "llmcf release check"),
        ("airflow pools import dags/pools.json", None),
    ],
)
def test_a_line_is_read_as_a_shell_would(line: str, asked: str | None) -> None:
    assert command(line) == asked
