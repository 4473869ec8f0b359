"""The commands that the documentation shows, and what the tests do with each.

A page's commands are the lines of its fenced blocks in ``sh``, and those after ``$`` in ``console``
blocks. ``WHAT_IS_DONE`` says of every command whether a test runs it, or only checks it and why.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path

from markdown_it import MarkdownIt
from markdown_it.token import Token

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", *sorted(ROOT.glob("docs/**/*.md")), *ROOT.glob("benchmarks/*.md")]
INLINE = ("kedro ", "make ", "dvc ", ".venv/bin/python ")
"""How code within a text begins that is a command."""

_ASSIGNMENT = re.compile(r"\w+=\S*")


@dataclass(frozen=True)
class Command:
    """One command of a page, as a reader would type it."""

    page: str
    """Path from the root of the project."""
    line: int
    """Where its block or paragraph begins, from 1."""
    text: str
    is_whole: bool = True
    """False within a text, where a command may be named without the options that it needs."""

    @cached_property
    def words(self) -> list[str]:
        """Program and arguments, without assignments of variables before them."""
        words = shlex.split(self.text, comments=True)
        while words and _ASSIGNMENT.fullmatch(words[0]):
            del words[0]
        return words

    def __str__(self) -> str:
        return f"{self.page}:{self.line}: {self.text}"


@dataclass(frozen=True)
class Block:
    """One fenced block of a page."""

    page: str
    line: int
    language: str
    content: str

    @property
    def commands(self) -> list[Command]:
        """The commands that it shows, none unless it is one of a shell."""
        if self.language == "sh":
            lines = self.content.splitlines()
        elif self.language == "console":  # output follows the command
            lines = [x[2:] for x in self.content.splitlines() if x.startswith("$ ")]
        else:
            return []
        return [Command(self.page, self.line, text) for text in _joined(lines)]


def _joined(lines: list[str]) -> Iterator[str]:
    """Commands, some of which go over several lines.

    Raises:
        ValueError: the last one has no end.
    """
    text = ""
    for line in lines:
        text += line
        if text.endswith("\\"):
            text = text[:-1]
            continue
        try:
            words = shlex.split(text, comments=True)
        except ValueError:  # a quotation goes on
            text += "\n"
            continue
        if words[:1] == ["for"] and words[-1] != "done":
            text += "\n"
            continue
        if words:
            yield text.strip()
        text = ""
    if text:
        raise ValueError(f"no end of the command {text!r}")


@cache
def tokens(page: Path) -> list[Token]:
    """A page as its parser sees it."""
    return MarkdownIt("commonmark").enable("table").parse(page.read_text(encoding="utf-8"))


def blocks(page: Path) -> list[Block]:
    """The fenced blocks of a page."""
    name = page.relative_to(ROOT).as_posix()
    return [
        Block(name, token.map[0] + 1, token.info.strip(), token.content)
        for token in tokens(page)
        if token.type == "fence" and token.map
    ]


def inline_commands(page: Path) -> list[Command]:
    """The commands that a page names within its text and tables."""
    name, line, found = page.relative_to(ROOT).as_posix(), 0, []
    for token in tokens(page):
        line = token.map[0] + 1 if token.map else line
        found += [
            Command(name, line, child.content, is_whole=False)
            for child in token.children or []
            if child.type == "code_inline" and child.content.startswith(INLINE)
        ]
    return found


BLOCKS = [block for page in PAGES for block in blocks(page)]
COMMANDS = [command for block in BLOCKS for command in block.commands]
MENTIONED = [command for page in PAGES for command in inline_commands(page)]


@dataclass(frozen=True)
class Done:
    """What the tests do with a command."""

    runs: bool
    reason: str = ""
    """Why it is not run, and what is done instead."""
    exit_codes: tuple[int, ...] = (0,)
    """Those that are well."""


def _not_run(reason: str) -> Done:
    return Done(runs=False, reason=reason)


_CLUSTER = "takes a cluster; tests/deploy/test_kubernetes.py checks what is applied"
_SEARCH = "trains networks: tests/e2e/test_search_job.py, tests/serving/jobs"
_SERVERS = "goes on until Ctrl-C; a test of its own starts it"
_DVC = "tests/e2e/test_dvc.py runs DVC on a small project; here arguments and stages are checked"
_LONG = "takes minutes to hours; here arguments, configuration and pipelines are checked"

# To add a command: one that runs within seconds and changes nothing outside of the project may be
# Done(runs=True): tests/e2e/test_documented_commands.py runs it, in a project whose pipelines were
# run. Of one that cannot be run here, say why by _not_run(...), and which test does so instead.
WHAT_IS_DONE = {
    "kedro run": _not_run(_LONG),
    "kedro mlflow": _not_run(_SERVERS),
    "kedro ratchet": Done(runs=True),
    "kedro ratchet checkout": _not_run(_DVC),
    "kedro ratchet drift": Done(runs=True, exit_codes=(0, 3, 4)),  # severities
    "kedro ratchet forecast": _not_run(
        "needs series with nothing but the calendar ahead: tests/compiled/test_series_answerer.py"
    ),
    "kedro ratchet fresh": _not_run("needs a delivery: tests/commands/test_ingest.py"),
    "kedro ratchet land": _not_run("needs a delivery: tests/commands/test_ingest.py"),
    "kedro ratchet replay": _not_run("trains every Sunday of months: tests/e2e/test_replay.py"),
    "kedro ratchet reproduce": _not_run("runs a use case twice: tests/commands/test_reproduce.py"),
    "kedro ratchet serve": _not_run(_SERVERS),
    "deploy/make-secrets": _not_run("tests/deploy/test_compose.py runs it in a folder of its own"),
    "docker": _not_run("takes a container engine: tests/deploy/test_dockerfile.py"),
    "docker compose": _not_run("takes a container engine; services and their commands are checked"),
    "docker network": _not_run("takes a container engine"),
    "kedro ratchet trial": _not_run("needs answers of two versions: tests/serving/test_trials.py"),
    "make": _not_run("target, variables and the command behind it are checked"),
    "apt-get": _not_run("installs programs on this machine"),
    "curl": Done(runs=True),
    "deploy/try-locally": _not_run("takes ten minutes: tests/deploy/test_try_locally.py"),
    "curl http://127.0.0.1:8000/train-advanced": _not_run(_SEARCH),
    "curl -N": _not_run(_SEARCH),
    "dvc": _not_run(_DVC),
    "export": _not_run("the next command reads it; here it is looked for in the sources"),
    "for": _not_run("takes a container engine and a registry of images"),
    "head": _not_run("makes a secret for a cluster"),
    "printf": _not_run("makes a secret for a cluster"),
    "helm": _not_run(_CLUSTER),
    "kind": _not_run(_CLUSTER),
    "kubectl": _not_run(_CLUSTER),
    "git": _not_run("changes the history of the project"),
    "python": _not_run("the benchmarks take long; here file and options are checked"),
    "python3": _not_run("waits for messages until Ctrl-C; here its code is compiled"),
    ".venv/bin/python": _not_run("takes long, or several machines; here it is checked to exist"),
    ".venv/bin/uv": _not_run("replaces packages of this environment"),
    "open": _not_run("opens a browser"),
    "source": Done(runs=True),
    "cp": Done(runs=True),
    "sed": Done(runs=True),
    "rm": Done(runs=True),
    "echo": Done(runs=True),
}
"""Beginning of a command -> what is done with it; the longest that fits counts."""


def what_is_done(command: Command) -> Done | None:
    """What the tests do with a command; None if nothing is said of it."""
    words = command.words
    beginnings = (" ".join(words[:count]) for count in range(len(words), 0, -1))
    return next((WHAT_IS_DONE[text] for text in beginnings if text in WHAT_IS_DONE), None)
