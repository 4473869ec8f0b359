"""The table at the end of a run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import click
from kedro.framework.hooks import hook_impl

from ratchet import progress
from ratchet.kedro_private import file_of

_LOG_WIDTH = 120
COLUMNS = ("use case", "target", "best candidate", "score", "CV", "test", "baseline", "objectives")


class SummaryHooks:
    """Says in one table what came out, what serves, and where the reports are."""

    @hook_impl
    def after_context_created(self, context: Any) -> None:
        """Remember the project, to name reports by short paths."""
        self._project = Path(context.project_path)

    @hook_impl
    def after_pipeline_run(self, pipeline: Any, catalog: Any) -> None:
        """Print a row per target that was evaluated, and the reports that were written."""
        written = {name for node in pipeline.nodes for name in node.outputs}
        evaluated = sorted(name for name in written if name.endswith(".evaluation"))
        if evaluated:
            self._print_table(evaluated, catalog)
        for name in sorted(name for name in written if name.endswith(".decision")):
            click.echo(f"{name.removesuffix('.decision')}: {_decided(catalog.load(name))}")
        for name in sorted(name for name in written if name.endswith((".report", "status"))):
            path = file_of(catalog.get(name))
            assert path is not None
            what = "Status" if name == "status" else "Report"
            click.echo(f"{what}: {_short(path, self._project)}")

    def _print_table(self, evaluated: list[str], catalog: Any) -> None:
        from rich.table import Table

        table = Table(*COLUMNS, title="What came out")
        for name in evaluated:
            use_case = name.removesuffix(".evaluation")
            scores = catalog.load(f"{use_case}.metrics")
            for row in summary_rows(use_case, catalog.load(name), scores):
                table.add_row(*row)
        progress.console(_LOG_WIDTH).print(table)


def summary_rows(
    use_case: str, evaluation: Mapping[str, Any], metrics: Mapping[str, Any]
) -> Iterator[tuple[str, ...]]:
    """One row of text per target, in the order of ``COLUMNS``."""
    for target, best in evaluation["best"].items():
        metric = evaluation["metric"][target]
        baseline = evaluation["baseline"][target]
        scores = metrics[target][best]
        yield (
            use_case,
            target,
            best,
            metric,
            _number(scores["cv"][metric]) if "cv" in scores else "",
            _number(scores["test"][metric]),
            _number(baseline["test"][metric]),
            "\n".join(
                f"{name} {_number(judged)}, aim {judged['aim']:g}: "
                f"{'met' if judged['met'] else 'not met'}"
                for name, judged in evaluation["objectives"][target].items()
            ),
        )


def _decided(decision: Mapping[str, Any]) -> str:
    """What serves now, and the last thing that was decided."""
    champion = decision["champion"]
    serves = "nothing serves yet" if champion is None else f"version {champion} serves"
    last = decision["decisions"][-1]
    return f"{serves}. Version {last['version']}: {last['reason']}"


def _number(score: dict[str, float]) -> str:
    return f"{score['value']:.3f}"


def _short(path: Path, project: Path) -> Path:
    return path.relative_to(project) if path.is_relative_to(project) else path
