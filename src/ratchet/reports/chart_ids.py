"""Which columns the errors are broken down by, and the names of the charts of a use case.

The pipeline has to know the names before there is any data.
"""

from __future__ import annotations

from ratchet.config import (
    ONE_WINDOW,
    Data,
    Evaluation,
    Features,
    Inventory,
    Network,
    Target,
    rewritten,
)

ARCHITECTURE = "architecture"
LEARNING_RATE = "learning_rate"

MARKET = "market"
"""What the chapter on prices is called in report, workbook and plots."""

MARKET_CHARTS = [
    *("error_by_iterations", "interval_movement", "elasticities", "gains"),
    *("demand_curve", "profit_curve", "abstentions", "cost_sensitivity", "replay"),
]
"""Charts of the chapter on prices, in their order."""

TIME_PARTS = ("hour", "weekday", "month")
"""Parts of the time of a series that its errors are broken down by."""

_MOST_CATEGORIES = 3
_MOST_GROUPS = 4
_MOST_SERIES_CATEGORIES = 2


def group_columns(features: Features, data: Data) -> list[str]:
    """Columns whose values the errors are broken down by: categories first, then numbers."""
    if data.series:
        return _series_columns(features, data)
    categories = [*features.lists, *features.categorical][:_MOST_CATEGORIES]
    room = 1 if len(categories) == _MOST_CATEGORIES else _MOST_GROUPS - len(categories)
    return [*categories, *features.numeric[:room]]


def _series_columns(features: Features, data: Data) -> list[str]:
    """Parts of the time first, then categories and a number."""
    within_a_day = {"minute", "hour", "halfhour"} & {*data.calendar}
    alone = {data.series.id} if data.series else set()  # one of several is worth a chart
    reserved = {*data.calendar, *TIME_PARTS, *alone}
    categories = [name for name in features.categorical if name not in reserved]
    numbers = [name for name in features.numeric if name not in reserved]
    parts = TIME_PARTS if within_a_day else TIME_PARTS[1:]
    return [*parts, *categories[:_MOST_SERIES_CATEGORIES], *numbers[:1]]


def group_charts(features: Features, data: Data) -> dict[str, str]:
    """Chart -> column of the errors by group."""
    files = rewritten(group_columns(features, data))
    return {f"error_by_{file}": column for column, file in files.items()}


def data_charts(data: Data) -> list[str]:
    """Charts of the data of a use case."""
    return ["missing", *(["rows_over_time"] if data.time else [])]


def target_charts(
    target: Target,
    data: Data,
    features: Features,
    inventory: Inventory | None = None,
    evaluation: Evaluation = ONE_WINDOW,
) -> list[str]:
    """Charts of one target."""
    by_window = ["error_by_window"] if target.is_series and evaluation.windows > 1 else []
    by_task = {
        "classification": ["confusion", "calibration", "confidence"],
        "regression": ["truth", "errors", "calibration"],
        "forecasting": ["truth", "errors", "calibration", *_series_charts(data, features)],
    }
    return [
        "distribution",
        "ranking",
        *by_task[target.task],
        *by_window,
        *(["error_over_time"] if data.time else []),
        *group_charts(features, data),
        "importance",
        *[c for item in target.networks.items() for c in search_charts(*item)],
        *(["stock_left"] if inventory else []),
    ]


def _series_charts(data: Data, features: Features) -> list[str]:
    by_series = ["error_by_series"] if data.series and data.series.id else []
    of_path = ["error_by_step", "path"] if features.path else []
    return [*of_path, "forecast", "forecast_worst", "residuals", *by_series]


def searched(network: Network) -> list[str]:
    """Hyper-parameters of which a search tries more than one value."""
    several = network.architectures == "all" or len(network.architectures) > 1
    varied = [name for name, values in network.param_grid.items() if len(values) > 1]
    return [*([ARCHITECTURE] if several else []), *varied]


def search_charts(name: str, network: Network) -> list[str]:
    """Charts of one search among recurrent networks."""
    if network.mode == "fast":
        return [f"{name}_architectures"]
    parameters = searched(network)
    views = {
        "convergence": True,
        **{loss_by(parameter): True for parameter in parameters},
        "loss_by_rate": LEARNING_RATE in parameters,
        "interaction": len(parameters) > 1,
        "parameter_importance": len(parameters) > 1,
        "curves": True,
    }
    return [f"{name}_{view}" for view, is_drawn in views.items() if is_drawn]


def loss_by(parameter: str) -> str:
    """Chart of the loss by the values of a hyper-parameter, without the name of the search."""
    return f"loss_by_{parameter}"


def plot(chart: str) -> str:
    """Name of the data set that holds a chart."""
    return f"{chart}_plot"
