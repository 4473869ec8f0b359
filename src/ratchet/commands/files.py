"""Text that the commands write: a file is there whole, or as it was before."""

from __future__ import annotations

from pathlib import Path

import click

from ratchet.errors import UserError


def write_text(path: Path, text: str) -> None:
    """Write a file beside its place, then move it there; its folder is made.

    Whoever reads it meanwhile, as Airflow may, reads the old one.

    Args:
        path: the file.
        text: what will be in it, in UTF-8.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.part")
    part.write_text(text, encoding="utf-8")
    part.replace(path)


def text_of(path: Path) -> str | None:
    """What is in a file; None where there is none."""
    return path.read_text(encoding="utf-8") if path.exists() else None


def bring_up_to_date(project: Path, name: str, text: str, *, check: bool, command: str) -> None:
    """Write a file that is made of others if it is not as they say, and tell what was done.

    Args:
        project: the project folder.
        name: path of the file in it.
        text: what has to be in it.
        check: write nothing.
        command: what writes it anew.

    Raises:
        UserError: it was to be checked alone, and is stale.
    """
    if text_of(project / name) == text:
        click.echo(f"{name} is up to date")
    elif check:
        raise UserError(f"{name} is stale: write it anew with `{command}`")
    else:
        write_text(project / name, text)
        click.echo(f"{name} is written")
