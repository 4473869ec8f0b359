"""What the DAGs say of themselves: the runbook."""

from __future__ import annotations

from ratchet_dags.commands import Commands

_ABOUT = """\
### {title}

{question} {goal}

*Data: {source}*
"""

_RETRAIN = """\
**What happens.** New raw files are brought in (`land`). If there is no row that the model that
serves does not know, the run ends with HOLD, "no new rows", and nothing is trained. Otherwise rows
are prepared, candidates trained{networks} and scored, and the best is put before the gate: it
serves only if it is better than what serves, by more than chance, on rows that neither has seen.
`promote`, `hold` or `reject` carries that out. The verdict with its numbers is the XCom of `gate`.

**Parameters** (Trigger): `as_of`, the last day whose rows are seen; `candidates`, what is
tried;{strategy} `dry_run`, stop after the gate; `require_approval`, ask a person.

**If it fails.** Only `promote` changes what serves, in one step: a run that fails before it has
changed nothing. The log of the task that failed ends with what is wrong and where. Mend it and
clear the task: what is finished is kept, and doing it twice gives the same.

| Trouble | Do |
|---|---|
| `land` names a file, a column and rows | mend the file where it comes from; clear `land` |
| a training task runs out of memory | give the pool `{pool}` fewer slots; clear the task |
| `approve` waits | Required Actions; without an answer in {approval:g} hours it is rejected |
| the new model is bad after all | `kedro ratchet rollback --use-case {name} --reason ...` |
| why does this model serve? | `kedro ratchet ledger --use-case {name}` |

**Report**: `{report}`.

**Past weeks**: `airflow backfill create --dag-id retrain_{name} --from-date D --to-date D` trains
as of each week's own date, with data and a registry of its own (environment `{backfill}`).
"""

_MONITOR = """\
**What happens.** The model that serves answers the new rows, truth is joined to earlier answers,
scores and drift are looked at. `rolled_back`: the previous model serves again. `retrain`:
`retrain_{name}` is started. `quiet`: neither.

**If it fails.** Only a rollback changes what serves, in one step; `kedro ratchet ledger --use-case
{name}` says whether there was one. The log of `monitor` ends with what is wrong; mend it and clear
the task.
"""

REPLAY = """\
Walks through the Sundays of the past on the real series: trains as of each day, asks the gate,
lets the model serve the following week, watches it, rolls it back. The policy is the one that
production uses; further ones (`policies`) are compared with it. Nothing that serves is touched.

A replay that was stopped goes on where it was: clear the task. The log ends with where the report
is.
"""


SEARCH = """\
Runs one search among recurrent networks. The service starts it (`POST /train-advanced`, with
`jobs.engine: airflow`), follows it by the files in its folder, and ends it when it is cancelled
there. The winner meets the gate as a challenger.

It is not tried again: `GET /jobs/<id>` of the service says why it has failed. To do it again, send
the request again.
"""


def retrain_page(commands: Commands) -> str:
    """The runbook of a retraining, in Markdown."""
    networks, job = commands.networks, commands.job
    return _page(
        commands,
        _RETRAIN,
        networks=", networks beside them," if networks else "",
        strategy=" `strategy`, how networks are searched;" if networks else "",
        pool=job["pool"],
        approval=job["approval_hours"],
        backfill=job["backfill_env"],
        report=commands.about["files"]["report"],
    )


def monitor_page(commands: Commands) -> str:
    """The runbook of the monitoring, in Markdown."""
    return _page(commands, _MONITOR)


def _page(commands: Commands, text: str, **values: object) -> str:
    named = ("title", "question", "goal", "source")
    about = _ABOUT.format(**{key: commands.about[key] for key in named})
    return f"{about}\n{text.format(name=commands.name, **values)}"
