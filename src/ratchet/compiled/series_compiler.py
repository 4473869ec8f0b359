"""Compiles the series models of a bundle, and their inputs for ``forecast_inputs``, to arrays."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
from pandas.tseries.frequencies import to_offset

from ratchet.compiled.contract import contract_of
from ratchet.compiled.derived_columns import DerivedColumn, derived_columns
from ratchet.compiled.encoding import Encoding, NumericEncoding, Part, compile_encoder
from ratchet.compiled.estimators import compile_estimator
from ratchet.compiled.forecast_inputs import (
    LEVEL,
    ORIGIN,
    SCALE,
    STEP,
    TARGET,
    Forecasts,
    InitialRows,
    WindowColumns,
)
from ratchet.compiled.history import microseconds
from ratchet.compiled.serialization import NotCompilable
from ratchet.compiled.series_answerer import Encoded, InUnits, SeriesAnswerer
from ratchet.compiled.series_steps import PanelColumn, StepsSpec
from ratchet.compiled.time_grid import Grid
from ratchet.config import (
    AHEAD_PREFIX,
    SERIES_LEVEL,
    SERIES_SCALE,
    STATIC_PREFIX,
    WINDOW_PREFIX,
    Data,
    Features,
    Target,
    UseCase,
    Windows,
    apart,
    plain,
)
from ratchet.config import STEP as STEP_COLUMN
from ratchet.learning.features.base import number_duplicates
from ratchet.learning.features.encoders import CyclicEncoder, sources_of
from ratchet.learning.features.series import time_grid
from ratchet.learning.features.windows import View, seasons_back
from ratchet.learning.meta_estimators import RelativeRegressor
from ratchet.preparation.required_columns import RequiredColumns, source_columns
from ratchet.preparation.row_features import derive_columns
from ratchet.preparation.steps import lay_out_steps, only_target
from ratchet.preparation.window_columns import make_views

_LAID_OUT = (10_000, 1_000, 100, 10)
"""Steps of a calendar that are laid out ahead; fewer where that is beyond all years."""

_CLOSED_AHEAD, _MOST_LAID_OUT = pd.Timedelta("1826D"), 200_000
"""Where days are closed: for how long shorter steps are laid out ahead, and how many at most."""

_NUMBERS = ("integer", "number")


def compile_series(
    use_case: UseCase,
    statistics: pd.DataFrame,
    context: pd.DataFrame,
    encoder: Any,
    model: Any,
    types: Mapping[str, str],
    second: Any = None,
    rows: pd.DataFrame | None = None,
) -> SeriesAnswerer:
    """Compile one version of the model of series.

    Args:
        use_case: the parameters.
        statistics: units of the series.
        context: typed rows that are known.
        encoder: the fitted encoder of the features.
        model: the fitted model of the target.
        types: column of the features -> type that the training rows had.
        second: the fitted model of the target that needs nothing of the past, where there is one.
        rows: ``time`` of the rows of the training, in UTC, by key, and whether they were ``given``
            in the file, as bundles have them; by default only ``context`` is known.

    Raises:
        NotCompilable: a part of it has no compiled form.
    """
    data = use_case.data
    ((target, parameters),) = use_case.targets.items()
    assert data.time is not None
    step_times = context[data.time] if rows is None else rows["time"]
    forecasts = compile_forecasts(use_case, statistics, context, longest_gap(step_times), rows)
    encoding = compile_encoder(encoder, types)
    ahead = None if data.ahead is None else pd.Timedelta(data.ahead) // pd.Timedelta("1us")
    return SeriesAnswerer(
        contract=contract_of(use_case),
        measured=contract_of(use_case, measured=True),
        forecasts=forecasts,
        encoded=_encoded(forecasts, encoding),
        model=_in_units(model, encoding.names),
        target=target,
        column=parameters.column,
        time=data.time,
        series=data.series.columns if data.series else [],
        ahead=ahead if ahead is None else int(ahead),
        second=None if second is None else _in_units(second, encoding.names),
        basis=_basis(second, encoder),
    )


def _basis(second: Any, encoder: Any) -> str:
    """What a second model sees, in words."""
    if second is None:
        return ""
    sources, terms = sources_of(encoder), (second.level, second.scale)
    used = [sources[name] for name in second.feature_names_in_ if name not in terms]
    return f"the row itself, without a past: {', '.join(map(plain, dict.fromkeys(used)))}"


def _encoded(forecasts: Forecasts, encoding: Encoding) -> Encoded:
    """The encoder, with its numbers taken from views at once."""
    numbers: list[NumericEncoding] = []
    others: list[Part] = []
    for part in encoding.parts:
        if isinstance(part, NumericEncoding):
            numbers.append(part)
        else:
            others.append(part)
    if encoding.parts[: len(numbers)] != numbers:
        raise NotCompilable("the encoder does not begin with its numbers")
    names = [name for part in numbers for name in part.columns]
    rows = {apart(name): name for name in forecasts.sources}
    sources = [name for name in names if name in rows]
    columns = [*sources, *forecasts.views.names, *forecasts.static_names]
    if missing := [name for name in names if name not in columns]:
        raise NotCompilable(f"the encoder knows columns that no forecast has: {missing[:5]}")
    at = {name: position for position, name in enumerate(columns)}
    return Encoded(
        places=np.array([at[name] for name in names], dtype=np.int64),
        sources=[rows[name] for name in sources],
        offset=np.concatenate([part.offset for part in numbers]) if numbers else np.zeros(0),
        others=Encoding(others, encoding.names[len(names) :]),
        marked={name: rows[name] for name in rows if name != rows[name]},
    )


def _in_units(model: Any, names: Sequence[str]) -> InUnits:
    terms = (SERIES_LEVEL, SERIES_SCALE)
    if type(model) is not RelativeRegressor or (model.level, model.scale) != terms:
        raise NotCompilable(f"{type(model).__name__}: expected a target in terms of {terms}")
    bounds = None if model.bounds is None else (float(model.bounds[0]), float(model.bounds[1]))
    known = not set(terms).isdisjoint(getattr(model.estimator_, "feature_names_in_", ()))
    columns = [*names, *terms] if known else names
    return InUnits(compile_estimator(model.estimator_, columns), bounds, known)


def compile_forecasts(
    use_case: UseCase,
    statistics: pd.DataFrame,
    context: pd.DataFrame,
    longest: int | None = None,
    rows: pd.DataFrame | None = None,
) -> Forecasts:
    """Compile what the forecasts of a use case see.

    Args:
        use_case: the parameters.
        statistics: units of the series.
        context: typed rows that are known.
        longest: see ``Grid.longest``; ``None`` where steps may be any time apart.
        rows: as of ``compile_series``.

    Raises:
        NotCompilable: a column is made or read in a way that arrays do not know.
    """
    data, features = use_case.data, use_case.features
    target = only_target(use_case.targets)
    windows = features.windows
    if data.series is None or data.time is None or windows is None:
        raise NotCompilable("data.series: expected the parameters of a time series")
    views, shown = _views(data, features, windows, target)
    _check_views(views, context, use_case, target)
    used = source_columns(features.columns, data)
    needed = derived_columns(data, source_columns([*features.columns, *_columns(shown)], data))
    grid = _grid(context[data.time], data, longest)
    spec = _steps_spec(use_case, needed, shown, views, context, grid)
    past = _past(context, data, spec)
    units = statistics.set_axis(statistics.index.map(str)).reindex(list(past.names))
    means = statistics.mean()
    units = pd.concat([units.fillna(means), means.to_frame().T])
    limits, usual = steps_until_ended(rows, data)
    static = units.loc[:, units.columns.str.startswith(STATIC_PREFIX)]
    return Forecasts(
        spec=spec,
        past=past,
        views=views,
        horizon=windows.last,
        first=windows.first if windows.path else None,
        learn=target.learn,
        mean=units["mean"].to_numpy(dtype=float),
        rms=units["rms"].to_numpy(dtype=float),
        static=static.to_numpy(dtype=float),
        static_names=list(static.columns),
        calendar=[part for part in data.calendar if part in {*used, *_columns(shown)}],
        derived=needed,
        sources=list(features.columns),
        required=list(spec.required),
        series=None if data.series.id_columns else data.series.id,
        limits=np.array([*limits.reindex(list(past.names)).fillna(usual), usual], dtype=np.int64),
    )


def _columns(shown: Iterable[PanelColumn]) -> list[str]:
    return list(dict.fromkeys(one.column for one in shown))


def _views(
    data: Data, features: Features, windows: Windows, target: Target
) -> tuple[WindowColumns, list[PanelColumn]]:
    """The views that ``window_columns.make_views`` makes, and the panels that they show."""
    assert data.series is not None
    column, horizon, series = target.column, windows.last, data.series

    def shown(name: str, form: str = "value", length: float = 0.0) -> PanelColumn:
        fill = series.fill.get(name)
        return PanelColumn(name, form, length, fill, 0 if fill is None else series.season)

    value = shown(column)
    channels: list[tuple[str, PanelColumn, int, int, int]] = [
        (
            f"{WINDOW_PREFIX}{name}",
            shown(name, form),
            horizon,
            LEVEL if name == column and form == "value" else 0,
            ORIGIN,
        )
        for name, form in windows.past.items()
    ]
    for name in windows.known:
        if name in features.cyclic:
            period = features.cyclic[name]
            encoder = CyclicEncoder(period=period).fit(pd.DataFrame({name: [0.0]}))
            channels += [
                (f"{AHEAD_PREFIX}{part}", PanelColumn(name, form, period), 0, 0, TARGET)
                for part, form in zip(encoder.get_feature_names_out(), ("sin", "cos"), strict=True)
            ]
        else:
            channels.append((f"{AHEAD_PREFIX}{name}", PanelColumn(name), 0, 0, TARGET))
    channels += [
        (f"{AHEAD_PREFIX}{column}_season{season}", *_seasonal(value, season, horizon))
        for season in windows.seasons
    ]
    if windows.path:
        channels.append((f"{AHEAD_PREFIX}{STEP_COLUMN}", value, 0, 0, STEP))
    names = number_duplicates(channel[0] for channel in channels)
    past = {f"{WINDOW_PREFIX}{name}" for name in windows.past}
    columns = [
        (
            f"{name}_{step:02d}",
            # A hole is over where the origin has a value of its own.
            replace(seen, own=True) if not step and channel in past and seen.limit else seen,
            steps + step,
            relative_to,
            anchor,
        )
        for step in reversed(range(windows.lookback))
        for name, (channel, seen, steps, relative_to, anchor) in zip(names, channels, strict=True)
    ]
    for lag in windows.lags:
        if lag >= horizon:
            columns.append((f"lag_{lag}", value, lag, LEVEL, TARGET))
        elif windows.path:
            columns.append((f"lag_{lag}", value, horizon + lag - 1, LEVEL, ORIGIN))
    for length in windows.rolling:
        columns += [
            (f"rolling_mean_{length}", shown(column, "mean", length), horizon, LEVEL, ORIGIN),
            (f"rolling_std_{length}", shown(column, "std", length), horizon, SCALE, ORIGIN),
        ]
    columns.append(("naive_persistence", value, horizon, LEVEL, ORIGIN))
    for i, season in enumerate(dict.fromkeys([data.series.season, *windows.seasons])):
        name = "naive_seasonal" if i == 0 else f"naive_seasonal_{season}"
        columns.append((name, *_seasonal(value, season, horizon)))
    if windows.path:
        columns.append((STEP_COLUMN, value, 0, 0, STEP))
    titles, shown_panels, steps_back, relative, anchors = zip(*columns, strict=True)
    panels = list(dict.fromkeys(shown_panels))
    positions = {panel: position for position, panel in enumerate(panels)}
    views = WindowColumns(
        names=list(titles),
        shown=np.array([positions[panel] for panel in shown_panels], dtype=np.int64),
        steps=np.array(steps_back, dtype=np.int64),
        relative_to=np.array(relative, dtype=np.int64),
        anchor=np.array(anchors, dtype=np.int64),
    )
    return views, panels


def _seasonal(value: PanelColumn, season: int, horizon: int) -> tuple[PanelColumn, int, int, int]:
    """The value as many seasons before the target as it takes to reach the origin."""
    return value, season * seasons_back(horizon, season), LEVEL, season


def _check_views(
    views: WindowColumns, context: pd.DataFrame, use_case: UseCase, target: Target
) -> None:
    """Make sure that the views are those of the preparation."""
    data = use_case.data
    assert data.time is not None
    some = context.sort_values(data.time).tail(2)
    layout = lay_out_steps(some, data, target, RequiredColumns(use_case).required)
    primary = derive_columns(layout.rows, data)
    expected: list[View] = make_views(primary, data, use_case.features, target)
    relative = {None: 0, "level": LEVEL, "scale": SCALE}
    anchors = {"target": TARGET, "origin": ORIGIN, "step": STEP}
    numbers = views.steps, views.relative_to, views.anchor
    ours = list(zip(views.names, *(values.tolist() for values in numbers), strict=True))
    if ours != [
        (
            *(view.name, view.steps, relative[view.rescaled]),
            anchors.get(view.anchor, view.season),
        )
        for view in expected
    ]:
        raise NotCompilable("features.windows: the compiled views are not those of the preparation")


def _steps_spec(
    use_case: UseCase,
    needed: Sequence[DerivedColumn],
    shown: Sequence[PanelColumn],
    views: WindowColumns,
    context: pd.DataFrame,
    grid: Grid,
) -> StepsSpec:
    data, target = use_case.data, only_target(use_case.targets)
    assert data.series is not None
    assert data.time is not None
    over_steps = [column for column in needed if column.back or column.ahead]
    if over_steps and data.series.id:
        raise NotCompilable(
            f"data.derive.{over_steps[0].name}: {over_steps[0].function} looks at other rows, and "
            f"these are of other series, too"
        )
    sources = [name for column in over_steps for name in column.sources]
    required = [
        n for n in RequiredColumns(use_case).required if n not in (data.time, *data.series.columns)
    ]
    held = source_columns([target.column, *_columns(shown), *sources, *required], data)
    held -= {data.time, *data.series.columns}
    kinds = {name: data.columns[name].type for name in data.columns if name in held}
    for name, kind in kinds.items():
        if kind not in (*_NUMBERS, "string"):
            raise NotCompilable(
                f"data.columns.{name}: values of type {kind} cannot be held as arrays"
            )
    derived = [column for column in needed if column.name in held]
    steps = _reach(derived, needed, shown, views, use_case.features.horizon)
    return StepsSpec(
        grid=grid,
        numbers=[name for name, kind in kinds.items() if kind in _NUMBERS],
        texts=[name for name, kind in kinds.items() if kind not in _NUMBERS],
        required=required,
        absent={name: held_ for name, held_ in data.series.absent.items() if name in kinds},
        begins_first=data.series.begins == "first_step",
        calendar=[part for part in data.calendar if part in held],
        derived=derived,
        shown=list(shown),
        target=target.column,
        above_zero=target.learn == "return",
        several=data.series.id is not None,
        steps=max(steps, _count(context[data.time], grid)),
        time=data.time,
        season=data.series.season,
    )


def _reach(
    retained: Sequence[DerivedColumn],
    needed: Sequence[DerivedColumn],
    shown: Sequence[PanelColumn],
    views: WindowColumns,
    horizon: int,
) -> int:
    """How many steps have to be retained so that the next ones can be answered."""
    depth: dict[str, int] = {}
    for column in needed:
        depth[column.name] = column.back + max((depth.get(n, 0) for n in column.sources), default=0)
    looks = [
        int(steps) + shown[position].depth + depth.get(shown[position].column, 0)
        for position, steps in zip(views.shown, views.steps, strict=True)
    ]
    ahead = sum(column.ahead for column in retained)
    return max(*looks, *depth.values(), 0) + horizon + ahead + 1


def longest_gap(times: pd.Series) -> int | None:
    """Microseconds that lie at most between a row and the next one; ``None`` of a single row."""
    gaps = np.diff(np.unique(microseconds(times)))
    return int(gaps.max()) if gaps.size else None


def steps_until_ended(rows: pd.DataFrame | None, data: Data) -> tuple[pd.Series, int]:
    """How many steps a series may lack a row at before it has ended, see ``ended_series``.

    Args:
        rows: as of ``compile_series``.
        data: the series.

    Returns:
        By name of the series, as far as its rows are known; and what it is of others.
    """
    assert data.series is not None
    usual = 2 * data.series.season if data.series.ends_after is None else data.series.ends_after
    if data.series.ends_after is not None or rows is None or "given" not in rows:
        return pd.Series(dtype=float), usual
    given = rows[rows["given"].to_numpy(dtype=bool)].sort_values("time")
    place = pd.Series(np.unique(given["time"], return_inverse=True)[1])
    names = given.index.astype(str).str.rsplit("@", n=1).str[0]  # a time holds no such sign
    lacked = place.groupby(np.asarray(names)).diff().sub(1).groupby(np.asarray(names)).max()
    return (2 * lacked).clip(lower=usual).fillna(usual), usual


def _grid(times: pd.Series, data: Data, longest: int | None) -> Grid:
    """The steps of the known rows, and of those to come."""
    assert data.series is not None
    frequency, zone, closed = data.series.frequency, data.timezone, data.series.closed_days
    first = microseconds(times).min()
    if frequency is None:
        return Grid(zone, int(first), longest=longest)
    offset = to_offset(frequency)
    length = pd.Timedelta(offset) if isinstance(offset, pd.offsets.Tick) else None
    if length is not None and not closed:
        return Grid(zone, int(first), length=int(length // pd.Timedelta("1us")), name=frequency)
    name = f"{frequency} without {data.series.closed_text}" if closed else frequency
    # Steps of some minutes are laid out for longer than a few weeks.
    more = 0 if length is None else min(_CLOSED_AHEAD // length, _MOST_LAID_OUT)
    for ahead in (max(more, _LAID_OUT[0]), *_LAID_OUT[1:]):
        try:
            last = times.max().tz_localize(None) + ahead * offset
            ends = pd.Series([times.min(), last.tz_localize(zone) if zone else last])
            laid = microseconds(pd.Series(time_grid(ends, frequency, closed)))
        except (OverflowError, ValueError):  # beyond the years that pandas or Python know
            continue
        gaps = np.diff(laid)
        if zone is None and not closed and (gaps == gaps[0]).all():
            return Grid(zone, int(first), length=int(gaps[0]), name=name)
        return Grid(zone, int(first), times=laid, name=name)
    raise NotCompilable(f"data.series.frequency: no step of {frequency} can be laid out ahead")


def _count(times: pd.Series, grid: Grid) -> int:
    """Steps from the first known row to the last."""
    moments = np.unique(microseconds(times))
    if grid.is_open:
        return len(moments)
    last = grid.step(int(moments[-1]))
    assert last is not None
    return last + 1


def _past(context: pd.DataFrame, data: Data, spec: StepsSpec) -> InitialRows:
    """The known rows, laid out on steps and series."""
    assert data.series is not None
    assert data.time is not None
    series = data.series.id
    rows = context.dropna(subset=[data.time, *([series] if series else [])])
    moments = microseconds(rows[data.time])
    grid = spec.grid
    if grid.is_open:
        times = np.unique(moments)
        at = np.searchsorted(times, moments)
    else:
        steps = [grid.step(int(moment)) for moment in moments]
        if None in steps:
            raise NotCompilable("the context of the bundle has rows that are no steps")
        at = np.array(steps, dtype=np.int64)
        times = grid.moments(0, int(at.max()) + 1)
    ids = rows[series].astype(str) if series else pd.Series(spec.target, index=rows.index)
    names = sorted(ids.unique())
    of = pd.Index(names).get_indexer(ids)
    has_value = np.zeros((len(times), len(names)), dtype=bool)
    has_value[at, of] = True
    numbers = {name: np.full(has_value.shape, np.nan) for name in spec.numbers}
    for name, panel in numbers.items():
        panel[at, of] = rows[name].to_numpy(dtype=float, na_value=np.nan)
    texts = {}
    for name in spec.texts:
        table = np.full(has_value.shape, None, dtype=object)
        table[at, of] = rows[name].astype(object).where(rows[name].notna(), None).to_numpy()
        texts[name] = table.tolist()
    return InitialRows(times, names, has_value, numbers, texts)
