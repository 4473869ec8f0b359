"""Names: which ones may be chosen, and how those that cannot be chosen are kept apart from ours.

Columns and classes come with the data, so that any name has to do: beside names of ours they are
marked, see ``apart`` and ``in_table``, and for files and MLflow they are rewritten, see
``rewritten``. Use cases, targets, candidates and networks are called in a parameter file; their
names become folders, catalog entries, tasks and tags, and are checked where they are read.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import re
import unicodedata
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd

OWN = "column:"
"""How a column of the rows starts where its own name is taken."""

TARGET_PREFIX = "target_"
"""How the columns to predict start in the model input."""

HISTORY_PREFIX = "history_"
"""How columns computed from earlier rows start in the model input."""

WINDOW_PREFIX = "window_"
"""How earlier values in the look-back window start in the model input."""

AHEAD_PREFIX = "ahead_"
"""How columns of values known ahead, of each step of the window, start in the model input."""

LAG_PREFIXES = ("lag_", "rolling_")
"""How further columns computed from earlier values of a series start in the model input."""

NAIVE_PREFIX = "naive_"
"""How naive forecasts start in the model input."""

STATIC_PREFIX = "static_"
"""How columns start that describe a series as a whole, as its training part shows it."""

STEP = "horizon_step"
"""How many steps before its target the origin of a row of a path is: a feature."""

STEP_FEATURES = (STEP, f"{AHEAD_PREFIX}{STEP}_00")
"""Columns with the step, as classical models and as networks see it."""

SERIES_PREFIX = "series_"
"""How columns start that say in what terms the target of a row is learned."""

SERIES_LEVEL, SERIES_SCALE = f"{SERIES_PREFIX}level", f"{SERIES_PREFIX}scale"
"""Level and scale of a row: the target is learned as its difference from the level, scaled."""

COMPUTED = (
    HISTORY_PREFIX,
    WINDOW_PREFIX,
    AHEAD_PREFIX,
    *LAG_PREFIXES,
    NAIVE_PREFIX,
    STATIC_PREFIX,
    STEP,
)
"""How columns start that are features, but no column of the rows."""

RESERVED = (TARGET_PREFIX, SERIES_PREFIX, *COMPUTED, OWN)
"""How no column of the rows may start in the model input."""

_TABLE = frozenset(
    (
        *("time", "target", "candidate", "split", "part", "truth", "prediction", "low", "high"),
        *("truth_class", "prediction_class", "series", "scale", "rms", "error", "scaled error"),
        *("predicted", "second", "disagreement"),
    )
)
_TABLE_PREFIXES = ("probability_", "P(", OWN)

USE_CASES_TAKEN = frozenset(
    (
        *("understanding", "preprocessing", "classical", "recurrent", "evaluation", "pricing"),
        *(
            "reporting",
            "release",
            "monitoring",
            "status",
            "parameters",
            "seed",
            "as_of",
            "first_report",
        ),
        *("name", "registry", "run", "search_cache", "trials", "prediction_log", "bundles"),
        "replay",
    )
)
"""Pipelines, parameters, datasets and folders that a use case would stand in the place of."""

_STEP_OF_KEY = re.compile(r"#\d+$")

_SEPARATOR = "|"
"""Between the parts of a key of several columns."""

LONGEST = 60
"""Characters of a name that is chosen: with what is put around it a file can still have it."""

_CHOSEN = re.compile(r"\w(?:[\w -]*[\w-])?")
_USE_CASE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")
_SLUG = 60


def apart(column: str) -> str:
    """Name of a column of the rows among the columns of the model input.

    Ordinary names stay. No two columns get the same name, and none one of ours.
    """
    return f"{OWN}{column}" if column.startswith(RESERVED) else column


def in_table(column: str) -> str:
    """Name of a column of the rows in a table of predictions, whose other columns are ours."""
    clashes = column in _TABLE or column.startswith(_TABLE_PREFIXES)
    return f"{OWN}{column}" if clashes else column


def plain(column: str) -> str:
    """The column's own name, whether or not ``apart`` or ``in_table`` have marked it."""
    return column.removeprefix(OWN)


def joined_key(parts: Iterable[Any]) -> str:
    """Join the parts of a key to one readable text; other parts give another text.

    Args:
        parts: texts, whole numbers and times, in their order. A time at midnight is its day; any
            other is written as ISO 8601, with its offset where it has a time zone.

    Returns:
        Such as ``Albany|organic|2015-01-04``; a ``|`` or a backslash inside of a part is preceded
        by a backslash.
    """
    return _SEPARATOR.join(map(_part, parts))


def series_name(values: Mapping[str, Any], columns: Sequence[str]) -> str | None:
    """Name of the series of a row: what one column holds, or several as ``joined_key`` joins them.

    Args:
        values: the typed row.
        columns: those that name the series; without any there is one series, and no name.
    """
    if len(columns) > 1:
        return joined_key(values[name] for name in columns)
    return str(values[columns[0]]) if columns else None


def _part(value: Any) -> str:
    if isinstance(value, dt.datetime):
        midnight = value.time() == dt.time()
        return value.date().isoformat() if midnight else value.isoformat()
    return str(value).replace("\\", "\\\\").replace(_SEPARATOR, f"\\{_SEPARATOR}")


def path_keys(rows: pd.Index, steps: Iterable[int]) -> pd.Index:
    """Keys of the rows of a path: ``<series>@<time>#<step>``, by row and step."""
    return rows.astype(str) + [f"#{step}" for step in steps]


def row_keys(keys: pd.Index) -> pd.Index:
    """Keys of the rows that some rows of paths are about; others stay as they are."""
    return keys.astype(str).str.replace(_STEP_OF_KEY, "", regex=True).rename(keys.name)


def rewritten(names: Iterable[str], unfit: str = r"\W+") -> dict[str, str]:
    """Names as files and MLflow can have them, no two alike, not even where case does not count.

    A name that fits stays as it is. Of one that does not, what is unfit becomes ``_``; where that
    is too long, empty or like another name, eight digits of its hash follow.

    Args:
        names: what is to be named.
        unfit: pattern of what must not stand in a name.

    Returns:
        Name -> as it is written.
    """
    short = {name: re.sub(unfit, "_", _spelled(name, unfit))[:_SLUG] for name in names}
    alike = Counter(map(_folded, short.values()))
    used: set[str] = set()
    written: dict[str, str] = {}
    for name in sorted(short, key=lambda name: (short[name] != name, name)):
        result, mark = short[name], hashlib.sha256(name.encode(errors="surrogatepass")).hexdigest()
        changed = result != name or not name
        if changed and (alike[_folded(result)] > 1 or len(name) > _SLUG or not result.strip("_")):
            result = f"{result.strip('_')}_{mark[:8]}"
        while _folded(result) in used:
            result = f"{result}_{mark[:8]}"
        used.add(_folded(result))
        written[name] = result
    return {name: written[name] for name in short}


def _spelled(name: str, unfit: str) -> str:
    """A name with comparisons in letters, where their signs cannot stand: ``<=50K`` as ``le_50K``.

    ``_50K`` alone would not say which.
    """
    for sign, letters in {"<=": "le_", ">=": "ge_", "<": "lt_", ">": "gt_"}.items():
        if re.search(unfit, sign):
            name = name.replace(sign, letters)
    return name


def check_chosen(kind: str, names: Collection[str]) -> None:
    """Make sure that names which users choose can be folders, catalog entries and tags.

    Args:
        kind: what is named, such as ``target``.
        names: all names of that kind beside each other.

    Raises:
        ValueError: one cannot; says why, and what it could be instead.
    """
    first_names: dict[str, str] = {}
    for name in names:
        if why := _trouble(name, _CHOSEN, "letters, digits, '_', '-' and single blanks inside"):
            raise ValueError(f"{kind} {name!r}: a name {why}{_instead(name)}")
        if (other := first_names.setdefault(_folded(name), name)) != name:
            raise ValueError(f"{kind} {name!r}: '{other}' is the same to some file systems")


def check_use_case(name: str, others: Iterable[str] = ()) -> None:
    """Make sure that a use case may have a name.

    Args:
        name: its name.
        others: names of the other use cases.

    Raises:
        ValueError: it may not; says why.
    """
    if name in USE_CASES_TAKEN:
        raise ValueError(
            f"'{name}' is the name of a pipeline, a parameter or a folder of ours; call the use "
            f"case otherwise, such as '{name}_data', in parameters and catalog"
        )
    if why := _trouble(name, _USE_CASE, "the letters a to z and A to Z, digits, '_' and '-'"):
        raise ValueError(f"{name!r}: the name of a use case {why}{_instead(name, ascii_only=True)}")
    if twin := [other for other in others if other != name and _folded(other) == _folded(name)]:
        raise ValueError(f"'{name}' and '{twin[0]}' are the same to some file systems")


def _trouble(name: str, allowed: re.Pattern[str], words: str) -> str:
    """Why a name cannot be chosen; empty if it can."""
    if not allowed.fullmatch(name) or "  " in name:
        return f"may hold {words}"
    if len(name) > LONGEST:
        return f"may have {LONGEST} characters, it has {len(name)}"
    return ""


def _instead(name: str, *, ascii_only: bool = False) -> str:
    text = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode()
    text = text if ascii_only else name
    suggestion = re.sub(r"[\W_]+", "_", text).strip("_")[:LONGEST]
    return f"; such as '{suggestion}'" if suggestion else ""


def _folded(name: str) -> str:
    """What file systems may compare names by."""
    return unicodedata.normalize("NFKC", name).casefold()
