"""Files that are generated from others, such as those of Airflow and DVC."""

from __future__ import annotations

from pathlib import Path

import click

from ratchet.errors import UserError
from ratchet.learning.atomic_files import write_text


def text_of(path: Path) -> str | None:
    """What is in a file; None where there is none."""
    return path.read_text(encoding="utf-8") if path.exists() else None


def bring_up_to_date(project: Path, name: str, text: str, *, check: bool, command: str) -> None:
    """Write a generated file if its content has changed, and print what was done.

    Args:
        project: the project folder.
        name: path of the file in it.
        text: what has to be in it.
        check: write nothing.
        command: what regenerates it.

    Raises:
        UserError: it was to be checked alone, and is stale.
    """
    if text_of(project / name) == text:
        click.echo(f"{name} is up to date")
    elif check:
        raise UserError(f"{name} is stale: regenerate it with `{command}`")
    else:
        write_text(project / name, text)
        click.echo(f"{name} is written")
