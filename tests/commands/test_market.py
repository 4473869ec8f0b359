"""``kedro ratchet market`` as a user types it."""

from __future__ import annotations

import contextlib
import json
import shutil
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml
from click.testing import CliRunner, Result

from ratchet.bundle.manifest import bundle_digest, hash_files, write_manifest
from ratchet.commands import ratchet
from ratchet.config.loader import project_loader, read_use_cases
from ratchet.registry.registry import Registry

ROOT = Path(__file__).resolve().parents[2]
SHOP = "Zoë & Söhne [red] / 東京 %d"
TEA = ("--merchant", SHOP, "--product", "tea")
MANIFEST = {
    **{"format": 1, "use_case": "market", "created_at": "2026-11-01T00:00:00+00:00"},
    "signature": {
        "inputs": {"region": {"type": "string", "nullable": False}},
        "features": {"region": "string"},
        "outputs": {"volume": ["prediction"]},
    },
    **dict.fromkeys(("as_of", "last_row", "decided_until", "code_commit"), None),
    **dict.fromkeys(("mlflow_run", "orchestrator_run"), None),
    **{"candidates": {}, "packages": {}, "data_hash": "0", "refit": "none"},
}


def type_in(*words: str) -> Result:
    return CliRunner().invoke(ratchet, ["market", *words])


def read(*words: str) -> Any:
    """What a command prints for programs."""
    result = type_in(*words, "--json")
    assert result.exit_code == 0, result.output
    return json.loads(result.output)


def refused(*words: str, exit_code: int = 1) -> str:
    """The line that an error is told in."""
    result = type_in(*words)
    assert result.exit_code == exit_code, result.output
    assert "Traceback" not in result.output
    return result.output.strip().splitlines()[-1]


@pytest.fixture(scope="module")
def market_project(make_project, keep_only, empty_mlflow, tmp_path_factory) -> Path:
    """A project with one market, in which nothing serves; it is read only."""
    from kedro.framework.startup import bootstrap_project

    project = make_project(tmp_path_factory.mktemp("market"))
    empty_mlflow(project / "mlflow.db")
    keep_only(project, "market", "run")
    bootstrap_project(project)
    append(project, "hold", None, {})
    return Path(project)


def append(project: Path, event: str, version: str | None, details: dict[str, str]) -> None:
    """Write a decision about the market."""
    ledger = Registry(f"sqlite:///{project / 'mlflow.db'}", project).ledger
    said = {"actor": "me", "reason": "said so", "details": details, "previous": None}
    expect = ledger.count("market")
    ledger.append("market", event, version=version, champion=version, expect=expect, **said)


def release(project: Path, number: str, book: Any) -> None:
    """Let a version serve, with prices or without any."""
    folder = project / "data/06_models/bundles/market" / f"bundle-{number}"
    folder.mkdir(parents=True)
    use_case = read_use_cases(project_loader()[0]["parameters"])["market"]
    (folder / "use_case.json").write_text(json.dumps(use_case.model_dump(mode="json")))
    if book is not None:
        (folder / "demand_book.npz").write_bytes(book.to_bytes())
    write_manifest(folder, {**MANIFEST, "files": hash_files(folder)})
    append(project, "promote", number, {"digest": bundle_digest(folder)})


@pytest.fixture(autouse=True)
def own_database(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.delenv("RATCHET_DATABASE_URL", raising=False)


@pytest.fixture(scope="module")
def served_project(market_project, demand_book, tmp_path_factory) -> Path:
    """One in which version 1 serves, after version 0 without prices; it is read only."""
    project = tmp_path_factory.mktemp("served") / "project"
    shutil.copytree(market_project, project, symlinks=True)
    with contextlib.chdir(project):
        release(project, "0", None)
        release(project, "1", demand_book)
    # To read all parameters takes each command a second, and these know of markets the name alone.
    for path in [*project.glob("conf/*/*/*.yml"), *project.glob("conf/*/globals*.yml")]:
        path.unlink()
    entry = yaml.safe_load((ROOT / "conf/base/catalog/06_models.yml").read_text())["registry"]
    entry |= {"filepath": "data/06_models/bundles", "tracking_uri": "sqlite:///mlflow.db"}
    entry |= {"database_url": None}  # the globals are gone
    (project / "conf/base/catalog.yml").write_text(yaml.safe_dump({"registry": entry}))
    (project / "conf/base/parameters.yml").write_text("market: {market: {price: paid}}")
    return project


@pytest.fixture
def served(served_project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(served_project)


def test_segments_are_listed_with_what_came_of_them(served):
    result = type_in("list")

    assert result.exit_code == 0, result.output
    lines = {line for line in result.output.splitlines() if "│" in line}
    tea = next(line for line in lines if "tea" in line)
    assert SHOP in tea
    assert "−1.20 (−1.30 to −1.10)" in tea
    assert "raise (direction)" in tea
    assert "3.00" in tea
    assert "prices hardly" in next(line for line in lines if "bread" in line)
    assert "too few" in next(line for line in lines if "corner" in line and "milk" in line)
    assert "4 of 4 segments" in result.output


@pytest.mark.parametrize(
    ("words", "products"),
    [
        (["--merchant", SHOP], ["milk", "tea"]),
        (["--product", "milk", "--sort", "rows"], ["milk", "milk"]),
        (["--outcome", "lower"], ["milk"]),
        (["--sort", "elasticity"], ["milk", "bread", "tea", "milk"]),
        (["--sort", "elasticity", "--descending", "--limit", "1"], ["tea"]),
        (["--sort", "gain", "--descending", "--outcome", "raise", "--outcome", "lower"], None),
    ],
    ids=str,
)
def test_lists_are_filtered_and_sorted(served, words, products):
    rows = read("list", *words)["segments"]

    if products is not None:
        assert sorted(row["product"] for row in rows) == sorted(products)
    if "--sort" in words:
        values = [row[words[words.index("--sort") + 1]] for row in rows]
        known = [value for value in values if value is not None]
        assert known == sorted(known, reverse="--descending" in words)
        assert values[len(known) :] == [None] * (len(values) - len(known))


def test_a_long_list_says_how_to_see_the_rest(served):
    assert "3 more: --limit 0" in type_in("list", "--limit", "1").output
    assert len(read("list")["segments"]) == 4


def test_a_segment_is_shown_in_full(served):
    result = type_in("show", *TEA)

    assert result.exit_code == 0, result.output
    assert f"{SHOP}, tea: market, version 1" in result.output
    assert "Raise the price from 2.50 to 3.00: a direction and no optimum" in result.output
    assert "Demand and profit by price" in result.output
    said = read("show", *TEA)
    assert [said["use_case"], said["version"], said["elasticity"]] == ["market", "1", -1.2]
    assert [point["price"] for point in said["curve"]][-1] == 3.0


def test_segments_are_compared_with_the_mean_of_their_product(served):
    rows = read("compare", "--product", "milk")["segments"]

    assert {row["merchant"] for row in rows} == {SHOP, "corner"}
    assert rows[0]["product_mean"] == {"segments": 1, "elasticity": -4.0, "current_price": 2.5}
    assert "against the mean of each product" in type_in("compare", "--merchant", SHOP).output
    assert "name some" in refused("compare")


def test_a_price_says_what_to_expect(served):
    said = read("price", *TEA)
    dear = read("price", *TEA, "--unit-cost", "2", "--price", "2.6", "--capacity", "50")

    assert (said["outcome"], said["price"], said["current_price"]) == ("raise", 3.0, 2.5)
    assert said["gain_low"] <= said["gain"] <= said["gain_high"]
    assert said["profit"] == pytest.approx((3.0 - 1.0) * said["demand"])
    assert (dear["unit_cost"], dear["current_price"]) == (2.0, 2.6)
    assert dear["demand"] <= 50
    assert "If a unit costs 10 % less the best price is 3.00" in type_in("price", *TEA).output


def test_without_a_price_the_reasons_are_told_and_nothing_is_expected(served):
    words = ("--merchant", "corner", "--product", "bread")
    said = read("price", *words)

    assert said["price"] is None
    assert said["profit"] is said["demand_low"] is said["gain"] is None
    assert said["reasons"].startswith("prices hardly varied (1.02; needed: at least 1.1)")
    output = type_in("price", *words).output
    assert "No price is recommended: prices hardly varied (1.02" in output
    assert "Expected" not in output


@pytest.mark.parametrize("ending", ["png", "svg", "html"])
def test_curves_are_drawn(served, tmp_path, ending):
    file = tmp_path / f"curves.{ending}"
    result = type_in("price", *TEA, "--plot", str(file))

    assert result.exit_code == 0, result.output
    content = file.read_bytes()
    starts = {"png": b"\x89PNG", "svg": b"<svg", "html": b"<!doctype html>"}[ending]
    assert content.startswith(starts)
    if ending == "html":
        assert content.count(b"data-chart=") == 2
        assert b"quadratic" in content
        assert b"prices tried" in content


def test_an_ending_that_cannot_be_drawn_is_refused(served):
    assert "ends in .png, .svg, .html" in refused("price", *TEA, "--plot", "a.pdf", exit_code=2)
    assert "no-folder" in refused("price", *TEA, "--plot", "/proc/no-folder/a.png")


def test_hidden_names_of_options_are_understood(served):
    words = ("--comerciante", SHOP, "--producto", "tea", "--usar_mercado")

    assert read("price", *words) == read("price", *TEA)
    assert "comerciante" not in type_in("price", "--help").output
    assert "mercado" not in type_in("price", "--help").output


@pytest.mark.parametrize(
    ("words", "match"),
    [
        (("price", "--merchant", "Corner", "--product", "milk"), "merchants of this product: "),
        (("price", "--merchant", SHOP, "--product", "teas"), "products of this merchant: milk, te"),
        (("price", "--merchant", SHOP), "--product: which of 3? There are bread, milk, tea"),
        (("list", "--merchant", "cornr"), "no merchant 'cornr' in market; there are "),
        (("list", "--merchant", SHOP, "--product", "bread"), "there is no such segment"),
        (("price", *TEA, "--unit-cost", "-1"), "unit_cost must be a number above 0"),
        (("price", *TEA, "--price", "nan"), "price must be a number above 0"),
        (("price", *TEA, "--price", "90"), "price 90 is far from those that were tried"),
        (("list", "--version", "7"), "version 7"),
        (("list", "--use-case", "films"), "'films' is no use case; those with a market are market"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_what_cannot_be_answered_is_told_with_the_way_out(served, words, match):
    assert match in refused(*words)


def test_before_a_release_the_command_for_one_is_told(market_project, monkeypatch):
    monkeypatch.chdir(market_project)

    assert "no version of market serves yet: `kedro run --pipelines market`" in refused("list")


def test_an_earlier_version_can_be_asked_and_one_without_prices_says_how_to_get_some(served):
    assert read("list", "--version", "1")["version"] == "1"
    assert "version 0 of market holds no prices" in refused("list", "--version", "0")


def test_one_of_several_markets_has_to_be_named(served_project, tmp_path, monkeypatch):
    project = shutil.copytree(served_project, tmp_path / "project", symlinks=True)
    markets = "{cheese: {market: {price: a}}, films: {}, market: {market: {price: b}}}"
    (project / "conf/base/parameters.yml").write_text(markets)
    monkeypatch.chdir(project)

    assert "--use-case: which one? There are cheese, market" in refused("list")
    assert read("list", "--use-case", "market")["use_case"] == "market"
    assert "'films' has no section market; those with" in refused("list", "--use-case", "films")


def test_history_before_any_training_names_the_node(market_project, monkeypatch):
    monkeypatch.chdir(market_project)

    assert "iterate_demand" in refused("history")


def test_history_shows_how_a_training_converged(market_project, monkeypatch):
    rows = {
        "iteration": [1, 10, 100],
        "start": [0, 0, 0],
        "error": [0.5, 0.3, 0.3],
        "movement": [float("nan"), 0.2, 0.009],
        "worst_movement": [float("nan"), 0.5, 0.04],
    }
    monkeypatch.chdir(market_project)
    folder = market_project / "data/07_model_output/market"
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("training", "replay"):
        pd.DataFrame(rows).to_parquet(folder / f"{name}_history.parquet")

    said = read("history")
    result = type_in("history", "--plot", "convergence.svg")

    assert (said["iterations"], said["stopped_early"]) == (100, True)
    assert [row["movement"] for row in said["history"]][:3] == [None, 0.2, 0.009]
    assert (
        "Stopped after 100 of 2,000 iterations: the ends of the intervals stopped" in result.output
    )
    assert (market_project / "convergence.svg").read_text().startswith("<svg")


def test_outcomes_that_can_be_listed_are_those_of_prices():
    """Named in the command too, whose help loads no SciPy."""
    from ratchet.commands.market import list_segments
    from ratchet.learning.demand.pricing import Outcome

    option = next(each for each in list_segments.params if each.name == "outcome")

    assert list(option.type.choices) == [*Outcome]
