"""The commands of the tasks, as templates that Airflow fills in when a task starts."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from ratchet_dags.clock import as_of
from ratchet_dags.manifest import manifest

BACKFILL = "backfill"
_FAILED = ("failed", "upstream_failed")


@dataclass(frozen=True)
class Commands:
    """Commands of Kedro for one use case.

    Attributes:
        name: name of the use case.
        about: what the manifest says of it.
    """

    name: str
    about: Mapping[str, Any]

    @property
    def job(self) -> Mapping[str, Any]:
        """When and how it is run."""
        return self.about["job"]

    @property
    def networks(self) -> list[str]:
        """All its searches among networks."""
        return [name for target in self.about["targets"].values() for name in target["networks"]]

    @property
    def candidates(self) -> list[str]:
        """Everything that may be tried, of all targets."""
        targets = self.about["targets"].values()
        names = [name for target in targets for name in target["candidates"]]
        return list(dict.fromkeys([*names, *self.networks]))

    def run(self, *phases: str, part: str = "") -> str:
        """Run phases of the use case.

        Args:
            phases: names of pipelines.
            part: further options of ``kedro run``.
        """
        pipelines = ",".join(phases)
        scope = f"--namespaces {shlex.quote(self.name)}"
        words = [_kedro(), "run", "--pipelines", pipelines, scope, part]
        return " ".join(filter(None, words)) + "{{ run_options(dag_run, params) }}"

    def ratchet(self, command: str, options: str = "") -> str:
        """Call ``kedro ratchet`` for the use case; ``options`` may be a template."""
        words = [_kedro(), "ratchet", command, "--use-case", shlex.quote(self.name), options]
        return " ".join(filter(None, words)) + "{{ env_option(dag_run) }}"

    def status(self) -> str:
        """Write the status page, of all use cases."""
        return f"{_kedro()} ratchet status --page{{{{ env_option(dag_run) }}}}"

    def close(self) -> str:
        """Close the MLflow run of this DAG run, when all other tasks are done."""
        return self.ratchet("close-run", "--status {{ outcome(ti) }}")

    def macros(self) -> dict[str, Callable[..., Any]]:
        """What the templates above call."""
        return {
            "run_options": self._run_options,
            "env_option": self._env_option,
            "as_of": self._as_of,
            "as_of_option": self._as_of_option,
            "trains_networks": self._trains_networks,
            "quoted": shlex.quote,
            "read": read,
            "outcome": outcome,
            "evidence": evidence,
            "refusal": refusal,
        }

    def _env(self, dag_run: Any) -> str | None:
        # A back-fill has data and a registry of its own: what serves never moves to the past.
        return self.job["backfill_env"] if dag_run.run_type == BACKFILL else self.job["env"]

    def _env_option(self, dag_run: Any) -> str:
        env = self._env(dag_run)
        return f" --env {shlex.quote(env)}" if env else ""

    def _as_of(self, dag_run: Any, params: Mapping[str, Any]) -> str | None:
        given = params.get("as_of")
        if not self.about["time"]:  # rows without time cannot be cut
            return given
        return as_of(dag_run, given, manifest()["timezone"], self.job["data_clock"])

    def _as_of_option(self, dag_run: Any, params: Mapping[str, Any]) -> str:
        day = self._as_of(dag_run, params)
        return f"--as-of {shlex.quote(day)}" if day else ""

    def _run_options(self, dag_run: Any, params: Mapping[str, Any]) -> str:
        given = []
        if day := self._as_of(dag_run, params):
            given.append(f"as_of={day}")
        if strategy := params.get("strategy"):
            given += [
                f"{self.name}.targets.{target}.networks.{network}.strategy={strategy}"
                for target, target_info in self.about["targets"].items()
                for network in target_info["networks"]
            ]
        options = self._env_option(dag_run)
        if given:
            options += f" --params {shlex.quote(','.join(given))}"
        if candidates := params.get("candidates"):
            options += f" --candidates {shlex.quote(','.join(candidates))}"
        return options

    def _trains_networks(self, params: Mapping[str, Any]) -> bool:
        """Whether a network is tried: a target of which nothing is named keeps all of its own."""
        named = set(params.get("candidates") or ())
        return any(
            bool(named & {*target["networks"]}) or named.isdisjoint(target["candidates"])
            for target in self.about["targets"].values()
            if target["networks"]
        )


def replay() -> str:
    """Walk through the past, as the parameters of the run say."""
    return f"{_kedro()} ratchet replay {{{{ replay_options(params) }}}}"


def replay_macros() -> dict[str, Callable[..., Any]]:
    """What the template above calls."""
    return {"replay_options": replay_options}


def replay_options(params: Mapping[str, Any]) -> str:
    """Options of ``kedro ratchet replay``."""
    named = {"--use-case": "use_case", "--from": "first", "--to": "last", "--every": "every"}
    words = [word for option, key in named.items() for word in (option, params[key])]
    words += [word for policy in params["policies"] for word in ("--policy", policy)]
    if params["candidates"]:
        words += ["--candidates", ",".join(params["candidates"])]
    return shlex.join(words)


def search() -> str:
    """Do the search whose order the service has put into a folder."""
    return f"{_kedro()} ratchet run-job -- {{{{ quoted(params.folder) }}}}"


def search_macros() -> dict[str, Callable[..., Any]]:
    """What the template above calls."""
    return {"quoted": shlex.quote}


def _kedro() -> str:
    return f"{shlex.quote(manifest()['runner']['python'])} -m kedro"


def together(*commands: str) -> str:
    """One after the other, as long as they succeed."""
    return " && ".join(commands)


def read(result: Any) -> Any:
    """What a command has answered: some operators hand on the text."""
    return json.loads(result) if isinstance(result, str) else result


def outcome(ti: Any) -> str:
    """How the run of MLflow ends: ``FAILED`` if a task of this DAG run did, in the end."""
    states = ti.get_task_states(dag_id=ti.dag_id, run_ids=[ti.run_id]).get(ti.run_id, {})
    return "FAILED" if any(state in _FAILED for state in states.values()) else "FINISHED"


def has_to_ask(dag_run: Any, params: Mapping[str, Any]) -> bool:
    """Whether a person has to approve a promotion; nobody is asked about the past."""
    return bool(params["require_approval"]) and dag_run.run_type != BACKFILL


def evidence(verdict: Mapping[str, Any]) -> str:
    """The verdict of the gate as a person reads it, in Markdown."""
    marks = {True: "yes", False: "**no**", None: "not looked at"}
    lines = [
        f"**{verdict['decision']}** version {verdict['version']}"
        f" ({', '.join(f'{t}: {c}' for t, c in verdict['candidates'].items())})",
        "",
        verdict["reason"],
        "",
        f"Serves now: {verdict['champion'] or 'nothing'}.",
        "",
        "| Condition | Met | Why |",
        "|---|---|---|",
    ]
    lines += [
        f"| {one['name']} | {marks[one['passed']]} | {one['reason'].replace('|', '/')} |"
        for one in verdict["conditions"]
    ]
    links = {"MLflow": verdict.get("mlflow_url"), "Report": verdict.get("report")}
    return "\n".join([*lines, "", *(f"{what}: {link}" for what, link in links.items() if link)])


def refusal(answer: Mapping[str, Any] | None) -> str:
    """Why a promotion was not approved."""
    user = (answer or {}).get("responded_by_user")
    if not user:
        return "promotion not approved: nobody answered in time"
    return f"promotion not approved: rejected by {user.get('name') or user.get('id')}"
