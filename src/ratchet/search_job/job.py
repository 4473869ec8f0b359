"""A search among networks that was requested over HTTP, from the raw rows to the gate.

It works on a copy of the configuration whose paths lead into the folder of the job, since another
look-back or horizon makes other rows: files of production are read and not written. What it hands
to the project in the end is a version in the registry and a verdict of the gate on it, as any run
does, and the files of the network beside the bundles.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd
import yaml
from kedro.framework.session import KedroSession

from ratchet import progress
from ratchet.config import Network, Target, UseCase, Windows
from ratchet.config.loader import project_loader, project_parameters, read_use_cases
from ratchet.errors import UserError
from ratchet.learning.atomic_files import write_text
from ratchet.learning.recurrent.saved import save_files
from ratchet.modelling.calibrate_and_refit import uncalibrated
from ratchet.pipelines.release import release_challengers
from ratchet.production.trial_verdict import continuation, trial_of_held
from ratchet.project_context import check_environment, find_use_case, registry_entry
from ratchet.sandbox import Sandbox, check_nothing_escapes, copy_configuration
from ratchet.search_job.ranking import Ranked, rank_networks, result_of
from ratchet.serving.jobs.progress import Writer
from ratchet.serving.jobs.specification import (
    SEARCHED,
    WORK,
    Order,
    architectures,
)

ACTIVATIONS = ["tanh", "relu", "elu"]
"""Tried where the use case names none."""


@dataclass
class Job:
    """A search, from the raw rows to the gate.

    Attributes:
        order: what is to be done.
        folder: folder of the job.
        writer: takes the events that others follow.
        stage: what is being done.
        first_trial: when the first trial of the search was reported, in seconds, and its number.
    """

    order: Order
    folder: Path
    writer: Writer
    stage: str = ""
    first_trial: tuple[float, int] | None = None

    def run(self) -> Mapping[str, object]:
        """Search, rank, fit the winner, and put it before the gate.

        What the search has found is written to ``SEARCHED`` before the gate sees the winner, so
        that it is not lost where something fails from there on.

        Returns:
            ``result``, as ``GET /jobs/{id}`` gives it; of the winner its ``files`` and ``units``;
            and ``challenger``, its state in the registry.

        Raises:
            UserError: the search cannot be done like that; says why.
        """
        progress.forward(self._report_trial)
        started = time.monotonic()
        self._begin("prepare")
        self._run(["understanding", "preprocessing", "classical"])
        self._begin("search", trials=self.order.request.trials)
        self._run(["recurrent"], [f"{self._network_at}.search_networks"])
        self._begin("compare")
        ranked = self._rank()
        if ranked[0].rmse is None:
            raise UserError("no network has given finite forecasts; a lower learning_rate may help")
        self._put_first(ranked[0])
        total = time.monotonic() - started
        self._begin("fit")
        self._run(["recurrent"], [f"{self._network_at}.fit_networks"])
        searched = {
            "result": result_of(self.order, ranked, total),
            "files": self._save(ranked[0]),
            "units": ranked[0].params.get("units"),
        }
        write_text(self.folder / SEARCHED, json.dumps(searched, allow_nan=False))
        return {**searched, "challenger": self._challenge()}

    def _begin(self, stage: str, **more: Any) -> None:
        self.stage = stage
        self.writer.write("stage", name=stage, **more)

    def _report_trial(self, call: tuple[Any, ...]) -> None:
        """Write down a trial of the search; other reports of a run are not for those who follow."""
        if call[0] is not progress.report_trials or self.stage != "search":
            return
        _, _, done, total, best, finished = call
        point, loss = finished[-1] if finished else ({}, None)
        now = time.monotonic()
        began, before = self.first_trial = self.first_trial or (now, done)
        left = (now - began) / (done - before) * (total - done) if done > before else None
        self.writer.write(
            "trial",
            done=done,
            total=total,
            best=best,
            params=point,
            score=loss,
            seconds_left=None if left is None else round(left, 1),
        )

    @cached_property
    def _project(self) -> tuple[Any, Path]:
        return project_loader(self.order.env)

    @cached_property
    def _sandbox(self) -> Any:
        """Create the copy of the configuration again: a resumed job takes today's."""
        loader, project = self._project
        check_environment(loader)
        entry = registry_entry(loader)  # before the copy, whose globals then stand for all loaders
        own = Sandbox(project, self.folder / WORK, self.order.env or "local")
        shutil.rmtree(own.conf, ignore_errors=True)
        copied = copy_configuration(own, loader)
        check_nothing_escapes(copied["catalog"], own)
        self._registry_of_project(own.conf / own.env, entry, project, copied["globals"])
        return own

    @staticmethod
    def _registry_of_project(
        env: Path, entry: Mapping[str, Any], project: Path, shared: Mapping[str, Any]
    ) -> None:
        """Let the copy know the versions of the project: its challenger has to meet them.

        Addresses that are those of the globals are left to these: one that an environment variable
        gives may hold a password, and is written to no file.
        """
        own = {**entry, "filepath": str(project / entry["filepath"])}
        for key in ("tracking_uri", "database_url"):
            if key in shared and own.get(key) == shared[key]:
                own[key] = f"${{globals:{key}}}"
        for path in env.rglob("catalog*/**/*.yml"):  # Kedro takes an entry from one file only
            content = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
            if content.pop("registry", None):
                path.write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")
        path = env / "catalog_job.yml"
        path.write_text(yaml.safe_dump({"registry": own}, sort_keys=False), encoding="utf-8")

    @cached_property
    def _use_case(self) -> UseCase:
        """The use case, as the project has it."""
        use_cases = read_use_cases(self._project[0]["parameters"])
        return find_use_case(use_cases, self.order.request.use_case)

    @property
    def _windows(self) -> Windows:
        """What forecasts of the use case see and cover."""
        windows = self._use_case.features.windows
        assert windows is not None
        return windows

    @property
    def _horizon(self) -> object:
        """Steps ahead as parameters have them: those of the request, or of the use case."""
        own: object = self._windows.model_dump(mode="json", exclude_none=True)["horizon"]
        return own if self.order.request.horizon is None else self.order.request.horizon

    @cached_property
    def _target(self) -> tuple[str, str]:
        """The target that is forecast, and what its search among networks is called."""
        for name, target in self._use_case.targets.items():
            if target.is_series and self._use_case.features.windows:
                return name, next(iter(target.networks), "recurrent")
        raise UserError(
            f"{self.order.request.use_case} has no series: networks forecast what comes next in "
            f"one; take a use case whose task is forecasting"
        )

    @property
    def _target_at(self) -> str:
        return f"{self.order.request.use_case}.{self._target[0]}"

    @property
    def _network_at(self) -> str:
        return f"{self._target_at}.{self._target[1]}"

    @cached_property
    def _params(self) -> Mapping[str, object]:
        """What differs from the parameters of the project."""
        request, (name, network) = self.order.request, self._target
        target = self._use_case.targets[name]
        own = {
            "n_jobs": self.order.processes,
            "weighted_ensemble": 0,  # the network that was asked for is what is compared
            "candidates": dict.fromkeys(
                [each for each in target.trained_candidates if each != target.baseline]
            ),
            "networks": {
                **dict.fromkeys(target.networks),
                network: network_params(self.order, target.networks.get(network)),
            },
        }
        windows = {"lookback": request.lookback}
        if request.horizon is not None:
            windows["horizon"] = request.horizon
        changed: dict[str, object] = {"features": {"windows": windows}, "targets": {name: own}}
        if self._use_case.release.trial is not None:  # that of another version decides elsewhere
            changed["release"] = {"trial": None}
        return {request.use_case: changed}

    def _session(self) -> Any:
        return KedroSession.create(
            self._project[1],
            env=self._sandbox.env,
            conf_source=str(self._sandbox.conf),
            runtime_params=dict(self._params),
            save_on_close=False,
        )

    def _run(self, pipelines: Sequence[str], nodes: Sequence[str] | None = None) -> None:
        """Run phases of the use case, or some of their nodes, in the copy."""
        with self._session() as session:
            session.run(
                pipeline_names=list(pipelines),
                node_names=nodes,
                namespaces=None if nodes else [self.order.request.use_case],
            )

    @cached_property
    def _catalog(self) -> Any:
        """Catalog of the copy; its entries are read when they are needed."""
        with self._session() as session:
            return session.load_context().catalog

    def _parameters(self) -> tuple[Target, Network, int]:
        """Target, search and seed, as the copy has them."""
        parameters = project_parameters()
        use_case = read_use_cases(parameters)[self.order.request.use_case]
        target = use_case.targets[self._target[0]]
        return target, target.networks[self._target[1]], int(parameters["seed"])

    def _rank(self) -> list[Ranked]:
        catalog, name = self._catalog, self.order.request.use_case
        train, validation = (catalog.load(f"{name}.{part}") for part in ("train", "validation"))
        top, search = (catalog.load(f"{self._network_at}.{noun}") for noun in ("top", "search"))
        return rank_networks(train, validation, *self._parameters(), top, search)

    def _put_first(self, winner: Ranked) -> None:
        """Put the winner before the others, so that it is what is fitted and scored."""
        catalog = self._catalog
        top, search = (catalog.load(f"{self._network_at}.{noun}") for noun in ("top", "search"))
        catalog.save(f"{self._network_at}.top", [top[winner.row]])
        first = search.iloc[[winner.row]]
        rest = search.drop(index=search.index[winner.row])
        catalog.save(f"{self._network_at}.search", pd.concat([first, rest], ignore_index=True))

    def _save(self, winner: Ranked) -> dict[str, str]:
        """Write the network, its scaling and its card where the project keeps models."""
        target, _, _ = self._parameters()
        network = network_in(uncalibrated(self._catalog.load(f"{self._network_at}.model"), target))
        loader, project = self._project
        number = next(
            one.number for one in architectures().values() if one.name == winner.architecture
        )
        timestamp = time.strftime("%Y%m%dT%H%M%S", time.gmtime())
        stem = f"{self.order.request.use_case}_{number}_{timestamp}"
        about = {
            "job": self.order.job,
            "use_case": self.order.request.use_case,
            "target": self._target[0],
            "lookback": self.order.request.lookback,
            "horizon": self._horizon,
            "base": target.networks[self._target[1]].base,
            "metrics": {"validation_rmse": winner.rmse},
        }
        folder = project / loader["globals"]["paths"]["models"] / "networks"
        files = save_files(network, folder / stem, about)
        return {
            kind: str(path.relative_to(project) if path.is_relative_to(project) else path)
            for kind, path in files.items()
        }

    def _challenge(self) -> Mapping[str, object]:
        """Register the winner and let the gate judge it beside the champion."""
        if reason := self._reason_not_comparable():
            return {"registered": False, "reason": reason}
        self._begin("evaluate")
        name = self.order.request.use_case
        self._run(["evaluation"], [f"{each}.choose_best" for each in self._targets])
        self._choose_winner()
        rest = ("score_candidates", "explain_best")
        self._run(["evaluation"], [f"{each}.{node}" for each in self._targets for node in rest])
        self._begin("gate")
        self._run(["release"], [f"{name}.register_challengers", f"{name}.judge_challengers"])
        return self._record_verdict()

    @property
    def _targets(self) -> list[str]:
        return [f"{self.order.request.use_case}.{name}" for name in self._use_case.targets]

    def _reason_not_comparable(self) -> str | None:
        """Why the winner cannot be compared with what serves; ``None`` where it can."""
        request, windows = self.order.request, self._windows
        if request.horizon not in (None, windows.horizon):
            return (
                f"it forecasts {request.horizon} step{'s' if request.horizon != 1 else ''} ahead, "
                f"and {request.use_case} forecasts {windows.ahead} ahead "
                f"(features.windows.horizon): leave the horizon of the search empty, and its "
                f"winner is compared with what serves"
            )
        if self._catalog.load("registry").champion(request.use_case) is None:
            return "nothing serves yet that it could be compared with: kedro run"
        return None

    def _choose_winner(self) -> None:
        """Let the winner be the choice of the copy, whatever naive forecast is before it."""
        catalog, network = self._catalog, self._target[1]
        choice = catalog.load(f"{self._target_at}.choice")
        why = f"the winner of the search {self.order.job}; by the rows alone: {choice['why']}"
        catalog.save(f"{self._target_at}.choice", {**choice, "best": network, "why": why})
        catalog.save(f"{self._target_at}.best_model", catalog.load(f"{self._network_at}.model"))

    def _record_verdict(self) -> Mapping[str, object]:
        """Write the verdict down; what is to be promoted waits, unless it may serve at once."""
        name, registry = self.order.request.use_case, self._catalog.load("registry")
        [*_, judged] = verdicts = self._catalog.load(f"{name}.verdicts")
        challenger = {
            "registered": True,
            "version": judged["version"],
            "decision": judged["verdict"]["decision"],
            "reason": judged["verdict"]["reason"],
            "serves": False,
        }
        if challenger["decision"] == "PROMOTE" and not self.order.promote:
            command = (
                f"kedro ratchet promote --use-case {name} --to {judged['version']} --reason ..."
            )
            return {**challenger, "next": command}
        if challenger["decision"] != "PROMOTE":
            judged["continued"] = continuation(trial_of_held(registry, name, self._use_case))
        run = {**self._catalog.load("run"), "mlflow_run": None}
        run["actor"] = self.order.actor or run["actor"]
        parameters = self._project[0]["parameters"][name]
        try:
            released = release_challengers(registry, run, name, parameters, verdicts)
        except UserError as error:  # such as another decision that came first
            return {**challenger, "reason": f"{challenger['reason']} Not written down: {error}"}
        return {**challenger, "serves": released["champion"] == judged["version"]}


def network_params(order: Order, network: Network | None) -> dict[str, object]:
    """Parameters of the search, as ``networks`` of a target takes them.

    Args:
        order: what is to be done.
        network: the search of the project, whose grid is taken over.
    """
    request = order.request
    configured = network.param_grid if network else {}
    epochs = network.epochs if network else 50
    grid: dict[str, list[Any]] = {
        "units": [32, 64],
        "dropout": [0.1, 0.2, 0.3],
        "learning_rate": [0.001, 0.0005],
        "batch_size": [32, 64],
        "activation": ACTIVATIONS,
        "epochs": [epochs, max(1, epochs // 2)],
        **configured,
    }
    if request.optimization_strategy in ("grid", "halving"):
        grid = cut_grid(grid, request.n_trials)
    return {
        "architectures": [one.name for one in request.chosen],
        "mode": request.mode,
        "strategy": request.optimization_strategy,
        "n_trials": min(request.n_trials, _points(grid)),
        "param_grid": grid,
        "top_k": "all",
        "ensemble": 0,
    }


def _points(grid: Mapping[str, Sequence[Any]]) -> int:
    points = 1
    for values in grid.values():
        points *= len(values)
    return points


def cut_grid(grid: Mapping[str, Sequence[Any]], most: int) -> dict[str, list[Any]]:
    """A grid of at most so many points: the longest lists lose their last values first."""
    cut = {name: list(values) for name, values in grid.items()}
    while _points(cut) > most:
        longest = max(cut, key=lambda name: len(cut[name]))
        cut[longest].pop()
    return cut


def network_in(model: Any) -> Any:
    """The network inside of what was assembled around it."""
    inside = getattr(model, "estimator_", model)  # of a network that corrects a base
    return inside[-1].estimator
