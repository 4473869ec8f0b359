"""The use case ``films`` on the real films up to 1975: what it leaves, and that it is honest."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose

pytestmark = pytest.mark.slow  # a whole run comes first

ENSEMBLE = "weighted_ensemble"
TARGETS = {"success": "log_loss", "rating": "rmse"}  # both smaller is better
CLASSES = ["Alto", "Medio", "Bajo"]
SEARCHED = ["dummy", "extra_trees", "hist_gradient_boosting", "xgboost", "kernel", "stack"]
"""Candidates of both targets; the linear ones differ."""

PARTS = ["train", "validation", "test"]
SOURCES = {"runtime", "year", "month", "certificate", "genres", "countries", "languages", "title"}
PEOPLE = {"director", "writer", "cast", "studio"}

LEAKS = {
    *("Consensus", "Meter", "Fresh", "Rotten", "Oscars", "Awards", "Metacritic", "Reviews"),
    *("BoxOffice", "Website", "lastUpdated", "ID", "imdbID", "Rating"),
    *("reviews", "box_office", "rating", "success", "date", "released", "split"),
}


@pytest.fixture(scope="module")
def parts(load) -> dict[str, pd.DataFrame]:
    return {part: load(f"films.{part}") for part in PARTS}


@pytest.fixture(scope="module")
def dates(load) -> pd.Series:
    return load("films.primary").set_index("film")["date"]


def test_files_are_where_the_contract_says(films_project):
    data = films_project / "data/test"
    for name in (
        *(f"05_model_input/films/{part}.parquet" for part in PARTS),
        *(f"06_models/films/{target}/best_model.skops" for target in TARGETS),
        *(
            f"06_models/films/{target}/search/{name}.parquet"
            for target in TARGETS
            for name in SEARCHED
        ),
        *(f"06_models/films/{target}/{ENSEMBLE}/model.skops" for target in TARGETS),
        "07_model_output/films/metrics.json",
        "07_model_output/films/evaluation.json",
        "07_model_output/films/predictions.parquet",
        "08_reporting/films/report.html",
        "08_reporting/films/tables.xlsx",
    ):
        assert (data / name).stat().st_size > 0, name
    assert list((data / "08_reporting/films").rglob("*.png"))


def test_models_run_no_code_when_loaded(films_project):
    kinds = {path.suffix for path in (films_project / "data/test/06_models/films").rglob("*.*")}

    assert kinds == {".skops", ".parquet", ".json"}


def test_every_row_is_in_one_part(parts, dates):
    keys = [set(rows.index) for rows in parts.values()]

    assert all(rows.index.is_unique and rows.index.name == "film" for rows in parts.values())
    assert sum(map(len, keys)) == len(set().union(*keys)) == len(dates)
    assert_allclose([len(k) / len(dates) for k in keys], [0.8, 0.1, 0.1], atol=0.001)


def test_parts_follow_each_other_in_time(parts, dates):
    order = [(dates[key], key) for rows in parts.values() for key in rows.index]

    assert order == sorted(order)  # ties by the key


def test_as_of_hides_everything_later(load, films_project):
    typed = load("films.typed")

    assert typed["date"].max() <= pd.Timestamp("1975-12-31")
    assert typed["date"].max() > pd.Timestamp("1975-12-01")


def test_a_film_dated_by_its_year_counts_at_the_end_of_it(load):
    typed = load("films.typed")
    by_year = (typed["released"].dt.month == 1) & (typed["released"].dt.day == 1)

    assert 0.3 < by_year.mean() < 0.9
    films = typed[by_year]
    assert films["month"].isna().all()
    assert (films["date"] == pd.to_datetime(films["year"].astype(str) + "-12-31")).all()
    films = typed[~by_year]
    assert (films["date"] == films["released"]).all()
    assert (films["month"] == films["released"].dt.month).all()
    assert (typed["released"].dt.year == typed["year"]).all()


def test_rows_are_those_with_the_required_values(load):
    primary = load("films.primary")

    assert primary[["runtime", "released", "rating"]].notna().all(axis=None)
    selection = load("films.selection")
    assert selection["kept"] == len(primary) < selection["rows"] == len(load("films.typed"))


def test_classes_mean_the_same_every_year(load):
    primary = load("films.primary")
    shares = pd.crosstab(primary["year"], primary["success"], normalize="index")
    busy = shares[primary.groupby("year").size() >= 50]

    assert set(primary["success"].dropna()) == set(CLASSES)
    assert (busy["Alto"] - 0.1).abs().max() < 0.04
    assert (busy["Medio"] - 0.25).abs().max() < 0.08
    assert (busy["Bajo"] > 0.55).all()


def test_features_come_from_what_is_known_before_release(parts):
    """And from no column of the leaks, nor from how complete a record is."""
    for column in parts["train"].columns:
        source, _, rest = column.partition("_")
        if source == "target":
            assert rest in TARGETS
        elif source == "history":
            assert rest.partition("_")[0] in PEOPLE, column
        else:
            assert source in SOURCES, column
            if source in {"runtime", "year"}:
                assert rest == "", column
            elif source == "month":
                assert rest in {"sin", "cos"}, column


def test_all_parts_have_the_same_columns(parts):
    columns = [list(rows.columns) for rows in parts.values()]

    assert columns[0] == columns[1] == columns[2]
    assert not set(columns[0]) & {"film", "title", *LEAKS}


def test_history_is_of_counts_and_ratings_and_never_of_the_class(load):
    history = load("films.features").filter(like="history_").columns
    kinds = {name.removeprefix("history_").partition("_")[2] for name in history}

    assert {kind.rpartition("_")[0] for kind in kinds} == {"", "rating", "reviews", "box_office"}
    assert {kind.rpartition("_")[2] for kind in kinds} == {"events", "mean", "known", "last"}


@pytest.fixture(scope="module")
def films_parameters(films_project) -> Any:
    from kedro.framework.session import KedroSession
    from kedro.framework.startup import bootstrap_project

    bootstrap_project(films_project)
    with KedroSession.create(films_project, env="test") as session:
        return session.load_context().config_loader["parameters"]["films"]


@pytest.mark.parametrize("day", ["1951-12-31", "1964-06-17", "1975-12-31"])
def test_what_a_film_and_later_ones_became_changes_no_feature(load, films_parameters, day):
    """On 31 December also the films that are dated only by this year."""
    from ratchet.config import UseCase
    from ratchet.pipelines.preprocessing import build_features

    use_case = UseCase.model_validate(films_parameters)
    primary = load("films.primary").sample(1200, random_state=0)
    later = primary["date"] >= day
    known = primary.loc[primary["released"] <= day, "film"]

    def features(films: pd.DataFrame) -> pd.DataFrame:
        built = build_features(films, use_case.data, use_case.features, films_parameters["targets"])
        return built[built.index.isin(known)].filter(regex="^(?!target_)")

    famous = primary.assign(
        **{
            column: primary[column].mask(later, value)
            for column, value in {"rating": 5.0, "reviews": 9999.0, "box_office": 1e9}.items()
        },
        success=primary["success"].mask(later, "Alto"),
    )
    before = features(primary)

    assert later.any()
    assert (before.filter(like="history_") != 0).any(axis=None)
    pd.testing.assert_frame_equal(features(famous), before)
    alone = features(primary[~later])
    pd.testing.assert_frame_equal(alone, before.loc[alone.index])


def test_every_candidate_predicts_the_same_rows(load, parts):
    predictions = load("films.predictions")
    for target in TARGETS:
        for split in ("validation", "test"):
            rows = predictions.query("target == @target and split == @split")
            known = parts[split].index[parts[split][f"target_{target}"].notna()]
            assert set(rows["candidate"]) >= {*SEARCHED, ENSEMBLE}
            for candidate, own in rows.groupby("candidate"):
                assert list(own["film"]) == list(known), candidate
            truth = rows.groupby("film")["truth"].agg(["min", "max"])
            assert (truth["min"] == truth["max"]).all()


def test_truth_is_the_target(load, parts):
    predictions = load("films.predictions").query("split == 'test' and candidate == 'dummy'")
    classes = predictions.query("target == 'success'").set_index("film")
    values = predictions.query("target == 'rating'").set_index("film")

    assert (classes["truth_class"] == parts["test"]["target_success"][classes.index]).all()
    assert (classes["truth"] == classes["truth_class"].map(CLASSES.index)).all()
    assert (values["truth"] == parts["test"]["target_rating"][values.index]).all()


def test_probabilities_and_intervals_are_well_formed(load):
    predictions = load("films.predictions")
    classes = predictions.query("target == 'success'")
    values = predictions.query("target == 'rating'")
    probabilities = classes[[f"probability_{name}" for name in CLASSES]]

    assert_allclose(probabilities.sum(axis=1), 1, atol=1e-6)
    assert (probabilities.to_numpy() >= 0).all()
    assert values["prediction"].between(0, 5).all()
    tested = values.query("split == 'test'")
    assert (tested["low"] <= tested["prediction"]).all()
    assert (tested["prediction"] <= tested["high"]).all()
    assert tested["low"].min() >= 0
    assert tested["high"].max() <= 5


def leaves(metrics: Any, depth: int = 0) -> Iterator[tuple[int, dict[str, float]]]:
    """Objects at the bottom of nested ones, with their depth."""
    if all(isinstance(value, int | float) for value in metrics.values()):
        yield depth, metrics
    else:
        for value in metrics.values():
            yield from leaves(value, depth + 1)


def test_metrics_are_nested_objects_of_finite_numbers(films_project):
    metrics = json.loads(
        (films_project / "data/test/07_model_output/films/metrics.json").read_text()
    )

    assert set(metrics) == set(TARGETS)
    for target, candidates in metrics.items():
        assert set(candidates) >= {*SEARCHED, ENSEMBLE}
        for splits in candidates.values():
            assert set(splits) == {"cv", "validation", "test"}
            assert set(splits["test"]) == set(splits["validation"]) >= set(splits["cv"])
            assert TARGETS[target] in splits["cv"]
    for depth, score in leaves(metrics):
        assert depth == 4  # target -> candidate -> split -> metric
        assert set(score) == {"value", "low", "high"}
        assert all(map(math.isfinite, score.values()))
        assert score["low"] <= score["high"]


def test_all_metrics_of_the_issue_are_there(load):
    metrics = load("films.metrics")

    assert set(metrics["rating"]["stack"]["test"]) == {"r2", "rmse", "mae", "wape", "spread"}
    per_class = {f"{name}_{label}" for name in ("precision", "recall") for label in CLASSES}
    assert set(metrics["success"]["stack"]["test"]) >= per_class | {
        *("accuracy", "balanced_accuracy", "f1_macro", "f1_weighted", "log_loss", "brier"),
    }


@pytest.mark.parametrize("target", TARGETS)
def test_best_is_best_in_cross_validation_and_validation(load, target):
    metrics, metric = load("films.metrics")[target], TARGETS[target]
    means = {
        name: np.mean([splits[part][metric]["value"] for part in ("cv", "validation")])
        for name, splits in metrics.items()
    }
    best = min(means, key=means.get)

    evaluation = load("films.evaluation")
    assert evaluation["best"][target] == best
    assert best in evaluation["why"][target]
    assert list(evaluation["ranking"][target]) == sorted(means, key=means.get)


def test_the_choice_cannot_see_test_rows(films_project):
    from kedro.framework.project import pipelines
    from kedro.framework.startup import bootstrap_project

    bootstrap_project(films_project)
    choosing = [n for n in pipelines["evaluation"].nodes if n.short_name == "choose_best"]

    assert len([n for n in choosing if n.namespace.startswith("films.")]) == len(TARGETS)
    for node in choosing:
        use_case = node.namespace.split(".")[0]
        seen = {
            name
            for other in pipelines["__default__"].to_nodes(node.name).nodes
            for name in other.inputs
        }
        assert f"{use_case}.validation" in seen
        assert f"{use_case}.test" not in seen


def predicted_by_the_best(load, target: str) -> pd.DataFrame:
    predictions, best = load("films.predictions"), load("films.evaluation")["best"][target]
    chosen = (predictions["target"] == target) & (predictions["candidate"] == best)
    return predictions[chosen & (predictions["split"] == "test")]


@pytest.mark.parametrize("target", TARGETS)
def test_best_model_predicts_what_was_written_down(load, parts, target):
    written = predicted_by_the_best(load, target)
    model = load(f"films.{target}.best_model")
    X = parts["test"].loc[written["film"]].filter(regex="^(?!target_)")

    if target == "rating":
        assert (model.predict(X) == written["prediction"].to_numpy()).all()
        assert (model.predict_interval(X) == written[["low", "high"]].to_numpy()).all()
    else:
        columns = [f"probability_{name}" for name in model.classes_]
        assert (model.predict_proba(X) == written[columns].to_numpy()).all()
        assert (model.predict(X) == written["prediction_class"].to_numpy()).all()


def test_objectives_are_judged_on_the_test_rows(load):
    evaluation, metrics = load("films.evaluation"), load("films.metrics")
    for target, objectives in evaluation["objectives"].items():
        best = metrics[target][evaluation["best"][target]]["test"]
        for metric, judged in objectives.items():
            assert judged["value"] == best[metric]["value"]
            sign = -1 if metric in {"rmse", "log_loss"} else 1
            assert judged["met"] == (sign * judged["value"] >= sign * judged["aim"])
        assert evaluation["baseline"][target]["beaten"]


def test_coverage_on_test_is_reported(load):
    rows = predicted_by_the_best(load, "rating")
    inside = rows["truth"].between(rows["low"], rows["high"]).mean()

    assert load("films.evaluation")["details"]["rating"]["coverage"] == pytest.approx(inside)
    assert inside > 0.8  # 0.9 promised


def test_one_phase_of_one_use_case_runs_again_by_itself(
    films_project, tmp_path, monkeypatch, run_kedro
):
    copy: Path = shutil.copytree(films_project, tmp_path / "copy", symlinks=True)
    monkeypatch.chdir(copy)
    outputs = copy / "data/test/07_model_output/films"
    before = {name: (outputs / name).read_text() for name in ("metrics.json", "evaluation.json")}
    shutil.rmtree(outputs)

    run_kedro(copy, "evaluation", namespaces=["films"])

    assert {name: (outputs / name).read_text() for name in before} == before


def test_a_suffix_is_no_person(load):
    primary = load("films.primary")
    people = pd.concat([primary[column].explode() for column in sorted(PEOPLE)]).dropna()

    assert people.str.contains(r"\bJr\.").any()
    assert not people.isin(["Jr.", "Sr.", "Inc", "Inc.", "Ltd."]).any()
