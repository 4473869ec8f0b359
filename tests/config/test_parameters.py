"""Parameters: what is allowed, and how a mistake is told."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import yaml
from pydantic import ValidationError

from ratchet.config import UseCase, loader
from ratchet.config.checks import (
    check_bundles,
    check_engines,
    check_functions,
    check_metrics,
    check_searches,
)
from ratchet.config.loader import candidate_overrides, read_use_cases
from ratchet.errors import ConfigError

GOOD = yaml.safe_load(
    """
about: {title: Bikes, question: "What is a bike worth?", source: a shop}
data:
  key: id
  time: sold
  columns:
    id: {type: integer}
    sold: {type: date, low: 2000-01-01}
    size: {type: number, nullable: true}
    type: {type: string}
    riders: {type: list, nullable: true}
    price: {type: number}
  required: [size]
  derive:
    class: {function: ratchet.use_cases.films.rank_classes, arguments: {column: price}}
features:
  numeric: [size]
  categorical: [type]
  history: {entities: [riders], values: {price: log1p}, looked_up: sold, available: sold}
targets:
  price:
    column: price
    task: regression
    candidates:
      dummy: {estimator: dummy}
      ridge: {estimator: ridge, param_grid: {model__alpha: [1]}}
  class:
    column: class
    task: classification
    classes: [high, low]
    candidates: {dummy: {estimator: dummy}, logistic: {estimator: logistic}}
    objectives: {accuracy: {aim: 0.8}}
"""
)


def parameters(path: str = "", value: Any = None) -> dict[str, Any]:
    """Good parameters of one use case with the value at ``path`` replaced."""
    content = copy.deepcopy(GOOD)
    if path:
        *parents, last = path.split(".")
        place = content
        for name in parents:
            place = place[name]
        place[last] = value
    return {"seed": 1, "as_of": None, "bikes": content}


def test_good_parameters():
    use_cases = read_use_cases(parameters())

    assert list(use_cases) == ["bikes"]
    check_functions(use_cases)
    check_searches(use_cases)


def test_defaults():
    target = read_use_cases(parameters())["bikes"].targets

    assert target["price"].scorer == "neg_root_mean_squared_error"
    assert target["class"].scorer == "neg_log_loss"
    assert target["price"].all_candidates == ["dummy", "ridge", "stack", "weighted_ensemble"]
    assert target["price"].cross_validated_candidates == target["price"].all_candidates


def test_no_stack_no_candidate():
    use_case = read_use_cases(parameters("targets.price.stack", 0))["bikes"]

    assert use_case.targets["price"].all_candidates == ["dummy", "ridge"]


def test_no_weighted_ensemble_no_candidate():
    use_case = read_use_cases(parameters("targets.price.weighted_ensemble", 0))["bikes"]

    assert use_case.targets["price"].all_candidates == ["dummy", "ridge", "stack"]


def test_a_candidate_that_is_null_is_left_out():
    use_case = read_use_cases(
        parameters(
            "targets.price.candidates", {**GOOD["targets"]["price"]["candidates"], "x": None}
        )
    )["bikes"]

    assert list(use_case.targets["price"].candidates) == ["dummy", "ridge"]


def test_only_some_candidates():
    more = {**GOOD["targets"]["price"]["candidates"], "xgboost": {"estimator": "xgboost"}}
    given = parameters("targets.price.candidates", more)

    only = candidate_overrides(read_use_cases(given), ["xgboost"])

    left_out = only["bikes"]["targets"]["price"]["candidates"]
    given["bikes"]["targets"]["price"]["candidates"] |= left_out
    targets = read_use_cases(given)["bikes"].targets
    assert list(targets["price"].candidates) == ["dummy", "xgboost"]
    assert list(only["bikes"]["targets"]) == ["price"]  # the other one has no xgboost


def test_dates_that_are_compared_are_of_one_kind_of_clock():
    history = {**GOOD["features"]["history"], "available": "known"}
    columns = {**GOOD["data"]["columns"], "known": {"type": "date", "timezone": "Europe/Berlin"}}
    given = parameters("features.history", history)
    given["bikes"]["data"]["columns"] = columns

    with pytest.raises(ConfigError, match=r"all or none of them need a timezone"):
        read_use_cases(given)

    columns["sold"] = {"type": "date", "timezone": "UTC"}
    assert read_use_cases(given)


def test_candidates_that_nobody_has():
    with pytest.raises(ConfigError, match=r"unknown \['dummy', 'oops'\]; there are \['logistic', "):
        candidate_overrides(read_use_cases(parameters()), ["dummy", "ridge", "oops"])


@pytest.mark.parametrize(
    ("path", "allowed"),
    [
        ("oops", "about, data, features, targets"),
        ("about.oops", "title, question, source"),
        ("data.oops", "key, time, prepare, columns"),
        ("data.split.oops", "validation, test"),
        ("data.columns.size.oops", "type, nullable"),
        ("data.columns.type.oops", "type, nullable"),  # a column called like a key
        ("data.derive.class.oops", "function, arguments"),
        ("features.oops", "numeric, cyclic"),
        ("features.history.oops", "entities, values"),
        ("targets.price.oops", "column, task"),
        ("targets.price.candidates.ridge.oops", "estimator, param_grid"),
        ("targets.class.objectives.accuracy.oops", "aim, production"),
    ],
)
def test_unknown_keys_are_told_with_their_path_and_what_is_allowed(path, allowed):
    content = parameters("data.split", {"test": 0.2})
    *parents, last = path.split(".")
    place = content["bikes"]
    for name in parents:
        place = place[name]
    place[last] = 1

    with pytest.raises(ConfigError) as error:
        read_use_cases(content)

    assert str(error.value).startswith(
        f"parameter bikes.{path}: unknown key; allowed are {allowed}"
    )


@pytest.mark.parametrize(
    ("path", "value", "told"),
    [
        ("data", ["id"], "bikes.data: "),
        ("data.key", 3, "bikes.data.key: Input should be a valid string; YAML reads 3 as a number"),
        ("data.time", False, "bikes.data.time: Input should be a valid string; YAML reads No, "),
        ("targets.class.classes", [0, 1], "YAML reads 0 as a number: write '0', in quotes"),
        ("features.numeric", ["type"], "column 'type' has type string, expected one of"),
        ("features.cyclic", {"riders": 7}, "features.cyclic: column 'riders' has type list"),
        ("features.history.available", "size", "features.history: column 'size' has type number"),
        ("targets.price.column", "sold", "targets.price.column: column 'sold' has type date"),
        ("data.columns.size", "number", "bikes.data.columns.size: "),
        ("data.columns.size.type", "float", "'integer', 'number', 'string', 'date' or 'list'"),
        ("data.key", "number", "bikes.data: key: 'number' is not among the columns ['id'"),
        ("data.time", "date", "bikes.data: time: 'date' is not among the columns"),
        ("data.time", "size", "bikes.data: time: column 'size' must have type 'date'"),
        ("data.required", ["sizes"], "bikes.data: required: 'sizes' is not among"),
        ("data.split", {"test": 0.7, "validation": 0.3}, "must leave rows for training"),
        ("data.split", {"test": 0}, "bikes.data.split.test: Input should be greater than 0"),
        ("evaluation", {"delay": "a while"}, "bikes.evaluation.delay: "),
        ("evaluation", {"windows": 3}, "regressions whose folds do (targets.price.folds: time)"),
        ("features", {}, "bikes.features: no feature is named"),
        ("features.min_count", 0, "bikes.features.min_count: "),
        ("features.numeric", ["width"], "bikes: features: 'width' is not among the columns"),
        ("features.numeric", ["price"], "features: ['price'] is a target"),
        ("features.history.values", {"price": "log"}, "bikes.features.history.values.price: "),
        ("features.history.entities", ["owner"], "features.history: 'owner' is not among"),
        ("features.history.shrinkage", -1, "bikes.features.history.shrinkage: "),
        ("targets", {}, "bikes.targets: "),
        ("targets.price.column", "cost", "bikes: targets: 'cost' is not among the columns"),
        ("targets.price.task", "ranking", "'classification', 'regression' or 'forecasting'"),
        ("targets.price.cv", 1, "bikes.targets.price.cv: "),
        ("targets.price.classes", ["a", "b"], "'classes' goes with classification"),
        ("targets.class.classes", ["a"], "at least two names"),
        ("targets.class.classes", None, "classification needs 'classes'"),
        ("targets.price.baseline", "mean", "baseline: 'mean' is not among the candidates"),
        ("targets.price.candidates", {"stack": {"estimator": "ridge"}}, "'stack' is kept"),
        (
            "targets.price.candidates",
            {"weighted_ensemble": {"estimator": "ridge"}},
            "'weighted_ensemble' is kept",
        ),
        (
            "targets.price.candidates.ridge.param_grid",
            {"model__alpha": 1},
            "param_grid.model__alpha",
        ),
        ("targets.price.candidates", {"dummy": {"estimator": "dummy"}}, "one beside the baseline"),
        ("targets.price.candidates.dummy.estimator", "kernel", "one with the estimator 'dummy'"),
        ("targets.price.confidence", 1, "bikes.targets.price.confidence: "),
        ("targets.class.objectives.accuracy", 0.8, "bikes.targets.class.objectives.accuracy: "),
        (
            "monitoring",
            {"drift": {"scenarios": {"odd": {"kind": "missing", "columns": ["size", "class"]}}}},
            "monitoring.drift.scenarios.odd.columns: ['class'] is not among the columns "
            "['id', 'sold', 'size', 'type', 'riders', 'price']",
        ),
        ("data.ahead", "soon", "data.ahead: expected a length of time such as 1D"),
        ("data.ahead", "3", "data.ahead: expected a length of time with its unit, such as 3D or"),
        ("monitoring", {"watch": {"window": "1e3"}}, "monitoring.watch.window: expected a length"),
    ],
)
def test_mistakes_are_told_with_their_path(path, value, told):
    with pytest.raises(ConfigError) as error:
        read_use_cases(parameters(path, value))

    assert told in str(error.value)
    assert str(error.value).startswith("parameter bikes")


def test_missing_keys_are_told():
    content = parameters()
    del content["bikes"]["targets"]["price"]["column"]

    with pytest.raises(ConfigError, match=r"bikes\.targets\.price\.column: Field required"):
        read_use_cases(content)


def test_all_mistakes_are_told_at_once():
    content = parameters("targets.price.cv", "five")
    content["bikes"]["about"]["oops"] = 1

    with pytest.raises(ConfigError) as error:
        read_use_cases(content)

    assert len(str(error.value).splitlines()) == 2


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("split", "columns: the column name 'split' is kept for the part of a row; leave"),
        ("id", "features: 'id' is the key"),
    ],
)
def test_a_feature_may_not_look_like_something_else(name, told):
    content = parameters(f"data.columns.{name}", {"type": "number"})
    content["bikes"]["features"]["numeric"] = [name]

    with pytest.raises(ConfigError, match=told):
        read_use_cases(content)


@pytest.mark.parametrize("name", ["target_size", "history_size", "time", "candidate", "a.b/[c]"])
def test_other_names_of_features_are_free(name):
    content = parameters("data.columns.x", {"type": "number"})
    content["bikes"]["data"]["columns"][name] = {"type": "number"}
    content["bikes"]["features"]["numeric"] = [name]

    assert read_use_cases(content)["bikes"].features.numeric == [name]


def test_a_derived_column_may_not_be_called_split():
    content = parameters("data.derive.split", {"function": "ratchet.use_cases.films.rank_classes"})

    with pytest.raises(ConfigError, match="the column name 'split' is kept"):
        read_use_cases(content)


def test_rows_without_a_date_cannot_be_split_by_time():
    content = parameters("data.columns.sold", {"type": "date", "nullable": True})

    with pytest.raises(ConfigError, match="time: column 'sold' must not be nullable"):
        read_use_cases(content)
    content["bikes"]["data"]["required"] = ["sold"]
    assert read_use_cases(content)


def test_two_targets_may_not_be_the_same():
    content = parameters("targets.worth", GOOD["targets"]["price"])

    with pytest.raises(ConfigError, match="targets: 'price' and 'worth' are the same"):
        read_use_cases(content)


@pytest.mark.parametrize(("label", "clash"), [("macro", "f1_macro"), ("weighted", "f1_weighted")])
def test_classes_that_make_a_metric_ambiguous_are_told(label, clash):
    use_cases = read_use_cases(parameters("targets.class.classes", ["low", label]))

    with pytest.raises(ConfigError, match=rf"class\.classes: .* ambiguous: \['{clash}'\]"):
        check_searches(use_cases)


def test_parameters_are_frozen():
    use_case = UseCase.model_validate(GOOD)

    with pytest.raises(ValidationError, match="frozen"):
        use_case.data.key = "sold"


@pytest.mark.parametrize(
    ("path", "value", "told"),
    [
        (
            "targets.price.candidates.ridge.estimator",
            "oracle",
            "bikes.targets.price.candidates.ridge.estimator: unknown 'oracle'; regression has",
        ),
        (
            "targets.price.candidates.ridge.estimator",
            "logistic",  # of the other task
            "regression has ['dummy', 'ridge'",
        ),
        (
            "targets.price.candidates.ridge.param_grid",
            {"alpha": [1]},
            "ridge.param_grid.alpha: no such parameter; allowed are",
        ),
        (
            "targets.price.candidates.ridge.param_grid",
            {"model__alpha": []},
            "ridge.param_grid.model__alpha: expected at least one value",
        ),
        ("targets.price.stack_param_grid", {"C": [1]}, "targets.price.stack_param_grid.C"),
        ("targets.price.scoring", "luck", "targets.price.scoring: unknown 'luck'; allowed are"),
        ("targets.price.scoring", "accuracy", "targets.price.scoring"),  # of the other task
        (
            "targets.class.objectives",
            {"luck": {"aim": 1}},
            "class.objectives.luck: unknown metric; allowed are",
        ),
        ("targets.class.objectives", {"spread": {"aim": 1}}, "class.objectives.spread"),
        ("targets.class.objectives", {"rmse": {"aim": 1}}, "class.objectives.rmse"),
        ("targets.class.objectives", {"f1_middle": {"aim": 1}}, "class.objectives.f1_middle"),
    ],
)
def test_searches_that_cannot_run_are_told(path, value, told):
    use_cases = read_use_cases(parameters(path, value))

    with pytest.raises(ConfigError) as error:
        check_searches(use_cases)

    assert told in str(error.value)


@pytest.mark.parametrize(
    "function", ["nowhere.rank", "ratchet.use_cases.films.nothing", "rank", "ratchet..x", ""]
)
def test_functions_that_do_not_exist_are_told(function):
    use_cases = read_use_cases(parameters("data.derive.class.function", function))

    with pytest.raises(
        ConfigError, match=r"bikes\.data\.derive\.class\.function: no such function"
    ):
        check_functions(use_cases)


@pytest.mark.parametrize(
    ("release", "told"),
    [
        ({"metric": "luck"}, "bikes.release.metric: 'luck' does not rank models of 'price'"),
        ({"metric": "log_loss"}, "models of 'price'; allowed are ['"),  # of the other task
        ({"metric": "spread"}, "'spread' does not rank"),
        ({"metric": "rmse", "target": "class"}, "models of 'class'; allowed are ['accuracy'"),
        ({"metric": "f1_middle", "target": "class"}, "'f1_middle' does not rank"),
    ],
)
def test_metrics_that_cannot_decide_are_told(release, told):
    use_cases = read_use_cases(parameters("release", release))

    for check in (check_metrics, check_searches):
        with pytest.raises(ConfigError) as error:
            check(use_cases)
        assert told in str(error.value)


@pytest.mark.parametrize(
    "release",
    [{}, {"metric": "mae"}, *({"metric": m, "target": "class"} for m in ("accuracy", "f1_low"))],
)
def test_metrics_that_can_decide(release):
    check_metrics(read_use_cases(parameters("release", release)))


def test_metrics_are_known_where_nothing_is_searched():
    use_cases = read_use_cases(parameters("targets.class.scoring", "luck"))

    with pytest.raises(ConfigError, match=r"bikes\.targets\.class\.scoring: unknown 'luck'"):
        check_metrics(use_cases)


@pytest.mark.parametrize("function", ["os.getcwd", "ratchet.use_cases.films.pd.eval"])
@pytest.mark.parametrize("place", ["derive.class", "prepare"])
def test_functions_that_no_bundle_may_name_are_told(place, function):
    use_cases = read_use_cases(parameters(f"data.{place}", {"function": function}))

    with pytest.raises(ConfigError) as error:
        check_bundles(use_cases)

    assert str(error.value).startswith(
        f"parameter bikes.data.{place}.function: '{function}' is none of ratchet.use_cases"
    )
    check_bundles(read_use_cases(parameters("data.calendar", [])))


def test_without_a_session_the_parameters_are_those_of_the_folder(project, monkeypatch):
    from kedro.framework.startup import bootstrap_project

    bootstrap_project(project)

    assert "films" in loader.project_parameters()
    monkeypatch.setenv("KEDRO_ENV", "test")
    assert loader.project_parameters()["films"]["targets"]["rating"]["cv"] == 2


@pytest.mark.parametrize(
    ("address", "told"),
    [
        (None, "needs the scheduler's address in the environment variable RATCHET_DASK_ADDRESS"),
        ("10.0.0.5", "no Dask scheduler answers at '10.0.0.5'.*no address such as tcp://"),
        ("tcp://127.0.0.1:9", "answers at 'tcp://127.0.0.1:9'.*RATCHET_DASK_ADDRESS: .*refused"),
    ],
)
def test_a_cluster_that_does_not_answer_is_told_before_a_run(monkeypatch, address, told):
    monkeypatch.delenv("RATCHET_DASK_ADDRESS", raising=False)
    if address:
        monkeypatch.setenv("RATCHET_DASK_ADDRESS", address)
    use_cases = read_use_cases(parameters("targets.price.engine", "dask"))

    with pytest.raises(
        ConfigError, match=f"(?s)parameter bikes.targets.price.engine: .*{told}.*engine: local"
    ):
        check_engines(use_cases, searched=True, priced=False)
    check_engines(use_cases, searched=False, priced=True)
