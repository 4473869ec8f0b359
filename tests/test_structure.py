"""Bounds of the structure, by the figures of ``benchmarks/structure.py``."""

from __future__ import annotations

from pathlib import Path

from benchmarks.structure import measure, total


def test_few_imports_inside_functions() -> None:
    figures = total(measure())

    assert 1000 * figures.inner_imports / figures.lines <= 6


def test_few_untyped_dicts() -> None:
    assert total(measure(), newer=False).untyped_dicts <= 100


def test_what_is_counted(tmp_path: Path) -> None:
    (tmp_path / "room").mkdir()
    (tmp_path / "room" / "__init__.py").touch()
    (tmp_path / "a.py").write_text("def f(x: dict[str, Any]):\n    import os\n")
    (tmp_path / "room" / "b.py").write_text(
        "import os\n\ndef g():\n    def h():\n        import sys\n"
    )

    rooms = measure(tmp_path)

    assert (rooms["(root)"].inner_imports, rooms["room"].inner_imports) == (1, 1)
    assert (rooms["room"].files, rooms["room"].lines) == (2, 5)
    assert total(rooms).untyped_dicts == 1
