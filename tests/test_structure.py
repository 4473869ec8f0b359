"""The figures of ``benchmarks/structure.py``."""

from pathlib import Path

from benchmarks.structure import measure


def test_what_is_counted(tmp_path: Path) -> None:
    package = tmp_path / "pack"
    (package / "room").mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / "room" / "__init__.py").touch()
    (package / "a.py").write_text(
        "from pack.room import b\n\ndef f(x: dict[str, Any]):\n    import os\n"
    )
    (package / "room" / "b.py").write_text("def g():\n    def h():\n        from pack.a import f\n")

    measured = measure(package)

    assert measured.cycles == [["pack.a", "pack.room.b"]]
    assert (measured.rooms["(root)"].inner_imports, measured.rooms["room"].inner_imports) == (1, 1)
    assert measured.total().untyped_dicts == 1
    assert measured.rooms["room"].files == 2
