"""What `kedro run --pipelines classical` costs beyond the fits themselves.

The pipeline (searches, stacking, calibration) against a plain script that makes the same fits on
the same rows, in alternation. The bar: at most 1.25 times the CPU time, start-up and MLflow apart.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from harness.measure import Cost, alternate, median, print_table, python
from harness.project import copy_project

BAR = 1.25
HERE = Path(__file__).resolve().parent
STAGES = ("total", "start_up", "mlflow", "fits")

Costs = dict[str, Cost]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=3, help="measurements of each (default: 3)")
    parser.add_argument("--env", default="local", help="test for small grids (default: local)")
    parser.add_argument("--use-case", default="films", help="(default: films)")
    options = parser.parse_args()
    with TemporaryDirectory() as folder:
        measure(copy_project(Path(folder)), options.use_case, options.env, options.pairs)


def measure(project: Path, use_case: str, env: str, pairs: int) -> None:
    scope = ["--namespaces", use_case, "--env", env]
    settings = project / "conf" / env / "mlflow.yml"
    settings.write_text("enabled: true\n", encoding="utf-8")
    python("-m", "kedro", "run", "--pipelines", "understanding,preprocessing", *scope, cwd=project)
    plan = write_plan(project, use_case, env)
    measured = alternate(
        pairs, partial(run_bare, project, plan), partial(run_kedro, project, plan, scope)
    )
    report(measured)
    print(
        f"\nLargest difference between the cross-validated scores: {difference(project, plan):.1e}"
    )


def write_plan(project: Path, use_case: str, env: str) -> dict[str, Any]:
    """Seed and targets of the use case for the bare script, and where its files are.

    Importing the project's settings also sets how threads behave, here and in every process that
    is started from here: both sides are measured with the same.
    """
    from kedro.config import OmegaConfigLoader

    from ratchet.config.loader import read_use_cases
    from ratchet.settings import CONFIG_LOADER_ARGS

    arguments: dict[str, Any] = {"conf_source": str(project / "conf"), **CONFIG_LOADER_ARGS}
    loader = OmegaConfigLoader(env=env, **arguments)
    parameters = loader["parameters"]
    targets = read_use_cases(parameters)[use_case].targets
    plan = {
        "seed": parameters["seed"],
        "targets": {
            name: target.model_dump(mode="json") | {"scoring": target.scorer}
            for name, target in targets.items()
        },
    }
    (project / "plan.json").write_text(json.dumps(plan), encoding="utf-8")
    paths = loader["globals"]["paths"]
    return plan | {"use_case": use_case, "paths": {k: project / v for k, v in paths.items()}}


def run_bare(project: Path, plan: dict[str, Any]) -> Costs:
    output = emptied(project / "bare")
    data = plan["paths"]["model_input"] / plan["use_case"]
    script = HERE / "bare" / "classical.py"
    total = python(script, project / "plan.json", data, output, cwd=project)
    return split(total, json.loads((output / "results.json").read_text(encoding="utf-8")))


def run_kedro(project: Path, plan: dict[str, Any], scope: list[str]) -> Costs:
    """Run the pipeline with nothing left of the last time: no models, no finished searches."""
    for folder in plan["paths"]["models"].iterdir():
        if folder.name != "encoder.skops":
            shutil.rmtree(folder)
    times = project / "times.json"
    probe = HERE / "harness" / "probe.py"
    command = ["run", "--pipelines", "classical", *scope]
    total = python(probe, times, *command, cwd=project)
    return split(total, json.loads(times.read_text(encoding="utf-8")))


def split(total: Cost, times: Mapping[str, list[float]]) -> Costs:
    apart = {name: Cost(*times.get(name, (0, 0))) for name in ("start_up", "mlflow")}
    return {"total": total, **apart, "fits": total.less(*apart.values())}


def emptied(folder: Path) -> Path:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    return folder


def report(measured: list[tuple[Costs, Costs]]) -> None:
    rows = []
    for stage in STAGES:
        bare, ours = ([pair[side][stage] for pair in measured] for side in (0, 1))
        rows.append([stage.replace("_", "-"), *cells(bare), *cells(ours), *ratio(bare, ours)])
    header = ["", "bare: CPU s", "wall s", "kedro: CPU s", "wall s", "CPU ratio", "from", "to"]
    print_table(header, rows)
    for side, name in enumerate(("bare", "kedro")):
        used = median([pair[side]["fits"].cpu / pair[side]["fits"].wall for pair in measured])
        print(f"Cores busy during the fits, {name}: {used:.2f} of {os.cpu_count()}")
    overall = median([ours["fits"].cpu / bare["fits"].cpu for bare, ours in measured])
    print(f"Bar {BAR:g}: {'met' if overall <= BAR else 'not met'} ({overall:.3f})")


def cells(costs: list[Cost]) -> Iterator[str]:
    yield f"{median([cost.cpu for cost in costs]):.1f}"
    yield f"{median([cost.wall for cost in costs]):.1f}"


def ratio(bare: list[Cost], ours: list[Cost]) -> list[str]:
    if min(cost.cpu for cost in bare) <= 0:
        return ["", "", ""]
    ratios = [of_ours.cpu / of_bare.cpu for of_bare, of_ours in zip(bare, ours, strict=True)]
    return [f"{value:.2f}" for value in (median(ratios), min(ratios), max(ratios))]


def difference(project: Path, plan: dict[str, Any]) -> float:
    """Between the best cross-validated scores of the last two runs: were the fits the same?"""
    import pandas as pd

    results = json.loads((project / "bare" / "results.json").read_text(encoding="utf-8"))
    models = plan["paths"]["models"] / plan["use_case"]
    return max(
        abs(
            score
            - pd.read_parquet(models / target / "search" / f"{name}.parquet")[
                "mean_test_score"
            ].max()
        )
        for target in plan["targets"]
        for name, score in results[target].items()
    )


if __name__ == "__main__":
    main()
