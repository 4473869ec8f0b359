"""What was done with the data: rows left out, steps of series, the split, the features."""

from __future__ import annotations

import pandas as pd

from ratchet.config import Data, Features
from ratchet.reports.blocks import Block, Finding, Table, Text
from ratchet.reports.formatting import count, counted, listed, plain, share
from ratchet.reports.phase_outputs import Selection, SeriesSelection

_MANY_LEFT_OUT = 0.05
_MANY_LOST = 0.05
_FREQUENCIES = {"D": "a day", "h": "an hour", "min": "a minute", "W": "a week"}
_REASONS = {
    "not_drawn": "others were drawn for training (data.train_rows)",
    "not_begun": "the series has not begun",
    "ended": "the series has ended",
    "waiting": "what comes true is not known yet",
    "beginning": "the window reaches back beyond the beginning of the series",
    "holes": "the window or the target falls into a hole",
    "missing": "a value that the forecast needs is missing",
    "between": "not known yet at the first origin of the next part",
}


def preparation_blocks(selection: Selection, data: Data, features: Features) -> list[Block]:
    """Rows left out, the split, and what a model may look at."""
    rows = series_blocks(selection, data) if data.series else _rows(selection)
    return [*rows, *_split(selection, data), *_features(features)]


def _rows(selection: Selection) -> list[Block]:
    out = selection["rows"] - selection["kept"]
    gaps = pd.DataFrame(
        {"required column": list(selection["missing"]), "rows": selection["missing"].values()}
    )
    text = (
        f"{count(selection['kept'])} of {counted(selection['rows'], 'row')} were kept; "
        f"{count(out)} ({share(out / max(selection['rows'], 1))}) were left out because a required "
        "column is empty, or not above 0 where it has to be."
        if out
        else f"All {counted(selection['rows'], 'row')} were kept."
    )
    gaps = gaps[gaps["rows"] > 0]
    blocks: list[Block] = [Text(text, title="Rows")]
    if out:
        title = "Rows left out, by the column that is empty (a row may lack several)"
        blocks.append(Table("left_out", title, gaps, {"rows": "count"}))
    return blocks


def _split(selection: Selection, data: Data) -> list[Block]:
    parts = {p: selection["parts"][p] for p in ("train", "validation", "test")}
    total = sum(part["rows"] for part in parts.values())
    frame = pd.DataFrame(
        {
            "part": list(parts),
            "rows": [part["rows"] for part in parts.values()],
            "share": [part["rows"] / total for part in parts.values()],
        }
    )
    if data.time:
        frame["first"] = [part["span"][0] for part in parts.values()]
        frame["last"] = [part["span"][1] for part in parts.values()]
    how = (
        f"The rows were ordered by {data.time} and cut into successive parts"
        if data.time
        else "The rows were divided at random"
    )
    train, validation, test = (
        counted(parts[part]["rows"], f"{word} row")
        for part, word in {"train": "training", "validation": "validation", "test": "test"}.items()
    )
    text = (
        f"{how}: settings were searched on {train}, models calibrated and compared on "
        f"{validation}, and fitted once more on both together. All results below are from {test} "
        "that nothing was learned from or chosen by."
    )
    formats = {"rows": "count", "share": "share"}
    table = Table("split", "Parts of the data", frame, formats)
    return [
        Text(text, title="Split"),
        table,
        *_unknown_truth(selection.get("truth", {})),
        *_not_learned(selection.get("not_learned", {})),
    ]


def _not_learned(left_out: dict[str, dict[str, int]]) -> list[Block]:
    """Rows without a logarithm, by target."""
    return [
        Text(
            f"The logarithm of {name} is learned, and "
            f"{counted(sum(counts.values()), 'row')} with a value of 0 or less "
            f"{'has' if sum(counts.values()) == 1 else 'have'} none "
            f"({listed([f'{count(counts[part])} in {part}' for part in counts])}): they are left "
            f"out of the learning and of the intervals, and scored like all others."
        )
        for name, counts in left_out.items()
        if sum(counts.values())
    ]


def _unknown_truth(truth: dict[str, dict[str, int]]) -> list[Block]:
    """Rows whose truth is not known, by target."""
    shown = [
        f"{name} of {counted(counts['unknown'], 'row')} (known of "
        f"{listed([f'{count(counts[part])} in {part}' for part in counts if part != 'unknown'])})"
        for name, counts in truth.items()
        if counts["unknown"]
    ]
    if not shown:
        return []
    text = (
        f"Truth that is not known yet: {'; '.join(shown)}. Parts are counted "
        "over rows with truth. Rows without teach and test nothing; the model that serves answers "
        "those that are newer than what it was chosen by, and is scored when their truth arrives."
    )
    return [Text(text)]


def _features(features: Features) -> list[Block]:
    frequent = f"at least {counted(features.min_count, 'training row')}"
    encoding = window_sources(features)
    for names, how in (
        (features.numeric, "the number as it is"),
        (features.cyclic, "place in a cycle of {} (sine and cosine)"),
        (features.categorical, f"one indicator for each value with {frequent}"),
        (features.lists, f"one indicator for each item with {frequent}"),
        (features.text, f"{counted(features.text_components, 'direction')} of its words"),
    ):
        for name in names:
            form = how.format(plain(features.cyclic.get(name)))
            encoding[name] = f"{encoding[name]}; {form}" if name in encoding else form
    if market := features.market:
        segment = "the code of its segment, one product at one merchant"
        encoding |= dict.fromkeys(market.names, segment)
        encoding |= {market.price: "its logarithm", market.time: "the number of the step"}
        encoding |= dict.fromkeys(market.covariates, "the number as it is")
    history = features.history
    for entity in history.entities if history else []:
        values = listed(list(history.values)) if history else ""
        encoding[f"history of {entity}"] = (
            f"what earlier rows with the same {entity} reached in {values}"
        )
    frame = pd.DataFrame({"feature": list(encoding), "how a model sees it": encoding.values()})
    text = f"A model may look at {counted(len(frame), 'source')} of information."
    table = Table("features", "Sources of information, and how a model sees them", frame)
    return [Text(text, title="Features"), table]


def rows_left_out(selection: Selection) -> list[Finding]:
    """Many rows without a required value."""
    if "series" in selection:
        return steps_lost(selection)
    out = selection["rows"] - selection["kept"]
    part = out / max(selection["rows"], 1)
    if part <= _MANY_LEFT_OUT:
        return []
    column, most = max(selection["missing"].items(), key=lambda item: item[1])
    return [
        Finding(
            f"The results hold for rows with all required values; {share(part)} of the file "
            f"({counted(out, 'row')}) lack at least one and were left out.",
            f"Collect {column}, empty in {counted(most, 'row')}: it is the most frequent reason "
            "for leaving a row out.",
        )
    ]


def series_blocks(selection: Selection, data: Data) -> list[Block]:
    """How rows became steps of series, and which steps are not forecast."""
    series = selection["series"]
    steps = series["count"] * series["steps"]
    text = (
        f"{counted(selection['rows'], 'row')} of the file are "
        f"{counted(series['count'], 'series', 'series')} of {counted(series['steps'], 'step')}"
        f"{_frequency_text(data)}; {count(selection['kept'])} of {counted(steps, 'step')} are "
        f"forecast. {_absent_sentence(series, data)} {_holes_sentence(series, data)}"
    )
    if series["unscaled"]:
        text += (
            f" {_first_names(series['unscaled'])} did not change over a season in the training "
            "rows; the errors there are measured by what is usual in the other series."
        )
    if ended := series.get("ended"):
        text += (
            f" {_first_names(ended)} {'has' if len(ended) == 1 else 'have'} ended: no row follows "
            "for longer than "
            f"{'is usual there' if _ends_by_default(data) else 'data.series.ends_after says'}."
        )
    lost = pd.DataFrame(
        {
            "steps not forecast, because": [_REASONS.get(r, r) for r in series["left_out"]],
            "steps": series["left_out"].values(),
        }
    )
    lost = lost[lost["steps"] > 0]
    table = Table("left_out", "Steps that are not forecast", lost, {"steps": "count"})
    return [Text(text.strip(), title="Series"), *([table] if len(lost) else [])]


def _ends_by_default(data: Data) -> bool:
    return data.series is None or data.series.ends_after is None


def _frequency_text(data: Data) -> str:
    frequency = data.series.frequency if data.series else None
    if data.series is None or not frequency:
        return ""
    closed = (
        f", closed days left out ({data.series.closed_text})" if data.series.closed_days else ""
    )
    return f", {_FREQUENCIES.get(frequency, frequency)} apart{closed}"


def _absent_sentence(series: SeriesSelection, data: Data) -> str:
    if not series["absent"]:
        return ""
    filled = data.series.absent if data.series else {}
    held = [
        f"{name} {'as before' if value == 'previous' else plain(float(value))}"
        for name, value in filled.items()
    ]
    return (
        f"At {counted(series['absent'], 'step')} a series has no row while others have one; there "
        + (f"it counts as {listed(held)}." if held else "its values are missing.")
    )


def _holes_sentence(series: SeriesSelection, data: Data) -> str:
    if not series["holes"]:
        return "At every step there is a row, so that there are no holes."
    if fill := data.series.fill if data.series else {}:
        words = {"previous": "the value before", "interpolate": "the line to the value after"}
        rules = [f"of {name} {words.get(str(rule), str(rule))}" for name, rule in fill.items()]
        return (
            f"At {counted(series['holes'], 'step')} no series has a row: in holes of at most a "
            f"season forecasts see {listed(rules)}. What is filled is neither learned nor scored."
        )
    return (
        f"At {counted(series['holes'], 'step')} no series has a row: such holes are not filled, "
        "and no forecast looks into them."
    )


def _first_names(names: list[str], shown: int = 3) -> str:
    if len(names) <= shown:
        return listed(names)
    return listed([*names[:shown], f"{len(names) - shown} more series"])


def window_sources(features: Features) -> dict[str, str]:
    """What a forecast sees of its series: source -> how."""
    windows = features.windows
    if windows is None:
        return {}
    back = counted(windows.lookback, "step")
    how = {
        "value": "",
        "log1p": ", as the logarithm of 1 more",
        "change": ", as changes from step to step",
        "log_change": ", as relative changes from step to step",
    }
    sources = {
        f"earlier {name}": f"the last {back} up to the origin{how[form]}"
        for name, form in windows.past.items()
    }
    ahead = f"{windows.ahead} ahead"
    if windows.known:
        sources[listed(windows.known)] = f"also at each step of the window, {ahead}; networks only"
    target = "the target"
    if windows.seasons:
        sources[f"{target}, seasons before"] = (
            f"its value {listed([count(n) for n in windows.seasons])} steps before each forecast"
        )
    if lags := [n for n in windows.lags if n >= windows.last]:
        sources[f"{target}, single steps"] = f"{listed([count(n) for n in lags])} steps before"
    if windows.path and (late := [n for n in windows.lags if n < windows.last]):
        sources[f"{target}, last values"] = (
            f"{listed([count(n) for n in late])} steps before the first one after the origin"
        )
    if windows.rolling:
        sources[f"{target}, on average"] = (
            f"mean and spread over the last {listed([count(n) for n in windows.rolling])} steps"
        )
    return sources


def steps_lost(selection: Selection) -> list[Finding]:
    """Many steps cannot be forecast because of gaps."""
    series = selection["series"]
    lost = series["left_out"].get("holes", 0) + series["left_out"].get("missing", 0)
    part = lost / max(series["count"] * series["steps"], 1)
    if part <= _MANY_LOST:
        return []
    return [
        Finding(
            f"{share(part)} of the steps ({counted(lost, 'step')}) are not forecast, as they or "
            "what the forecast needs fall into holes or missing values: the results say nothing "
            "of such times.",
            "Find out why values are missing, and whether they will be when the forecast is used.",
        )
    ]
