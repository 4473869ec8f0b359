"""Names that are chosen are checked, all others are kept apart; whatever they are."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from ratchet.config import RESERVED, apart, in_table, plain, rewritten
from ratchet.config.loader import read_use_cases
from ratchet.config.names import LONGEST, USE_CASES_TAKEN, check_chosen, check_use_case
from ratchet.errors import ConfigError

ROOT = Path(__file__).parents[2]

NAMES = st.one_of(
    st.text(max_size=70),
    st.sampled_from(
        [
            *(
                "a b",
                "a_b",
                "A_B",
                "a/b",
                "<=50K",
                ">50K",
                "",
                ".",
                "..",
                ".git",
                "params:x",
                "x@y",
            ),
            *("time", "target_a", "column:target_a", "static_x", "truth", "column:", "${x}", "ﬁ"),
        ]
    ),
)


@given(st.lists(NAMES, unique=True, max_size=8))
@settings(max_examples=60, deadline=None)
def test_columns_are_told_apart_from_ours_and_from_each_other(names):
    for mark in (apart, in_table):
        marked = [mark(name) for name in names]

        assert len(set(marked)) == len(names)
    assert not any(apart(name).startswith(RESERVED[:-1]) for name in names)
    assert all(plain(apart(name)) == name for name in names)


@given(st.lists(NAMES, unique=True, max_size=8), st.sampled_from([r"\W+", r"[^\w.\- ]"]))
@settings(max_examples=60, deadline=None)
def test_every_name_is_a_file_of_its_own(names, unfit):
    written = rewritten(names, unfit)

    assert list(written) == names
    assert len({name.casefold() for name in written.values()}) == len(names)
    for name, file in written.items():
        assert not re.search(unfit, file)
        assert 0 < len(file.encode()) < 250
        if name and not re.search(unfit, name) and len(name) <= 60:
            assert file == name or any(
                other != name and re.sub(unfit, "_", other).casefold() == name.casefold()
                for other in names
            )


@given(NAMES)
@settings(max_examples=100, deadline=None)
def test_a_chosen_name_is_refused_or_can_be_a_folder(name):
    if chosen(name):
        assert name.strip() == name != ""
        assert not set(name) & set("/\\.:@<>|*?\"'%$\n\t{}[]")
        assert len(name) <= LONGEST


def chosen(name: str) -> bool:
    try:
        check_chosen("targets", [name])
    except ValueError:
        return False
    return True


@pytest.mark.parametrize(
    ("names", "told"),
    [
        (["price/kg"], "such as 'price_kg'"),
        (["price.eur"], "such as 'price_eur'"),
        (["x" * 61], "may have 60 characters, it has 61"),
        (["Price", "price"], "'Price' is the same to some file systems"),
        ([""], "a name may hold"),
        (["😀"], "a name may hold"),
        (["größe", "gr\u00f6\u00dfe".replace("ö", "o\u0308")], "a name may hold|is the same"),
    ],
)
def test_why_a_name_cannot_be_chosen(names, told):
    with pytest.raises(ValueError, match=told):
        check_chosen("targets", names)


def test_ordinary_names_can_be_chosen():
    check_chosen("targets", ["price", "price eur", "größe", "ridge-2", "2024", "_x"])
    check_use_case("films", ["films", "power"])


def test_a_use_case_is_not_called_like_anything_of_ours():
    from ratchet.pipeline_registry import PHASES

    base = ROOT / "conf/base"
    catalog = [yaml.safe_load(path.read_text()) for path in (base / "catalog").glob("*.yml")]
    names = {name for entries in catalog for name in entries if not name.startswith("_")}
    shared = {name for name in names if "." not in name}
    parameters = yaml.safe_load((base / "parameters/run.yml").read_text())

    assert {*PHASES, "status", *shared, *parameters} <= USE_CASES_TAKEN
    for name in USE_CASES_TAKEN:
        with pytest.raises(ValueError, match="is the name of a pipeline"):
            check_use_case(name)


@pytest.mark.parametrize(
    ("names", "told"),
    [
        (["monitoring"], "parameter monitoring: 'monitoring' is the name of a pipeline"),
        (["my case"], "may hold the letters a to z and A to Z, digits, '_' and '-'; such as 'my_"),
        (["a.b"], "such as 'a_b'"),
        (["Bikes", "bikes"], "'Bikes' and 'bikes' are the same"),
    ],
)
def test_use_cases_that_cannot_be_called_so(names, told):
    with pytest.raises(ConfigError, match=told):
        read_use_cases({name: {} for name in names})
