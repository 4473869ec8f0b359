"""``kedro ratchet replay``: arguments, policies and what is kept, without training anything."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

import ratchet
from ratchet.config import UseCase
from ratchet.errors import ConfigError, UserError
from ratchet.replay import training
from ratchet.replay.incidents import changed_rows, read_incidents
from ratchet.replay.policies import policies
from ratchet.replay.setup import check_names, read_days, read_policy
from ratchet.replay.stages import StageStore, code_of
from ratchet.replay.training import TrainingSpec

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "how-to" / "replay-a-policy.md"
POWER = UseCase.model_validate(
    yaml.safe_load((ROOT / "conf/base/parameters/power.yml").read_text())["power"]
    | {
        "targets": {
            "demand": {
                "column": "demand",
                "task": "forecasting",
                "baseline": "seasonal",
                "candidates": {
                    "seasonal": {"estimator": "seasonal"},
                    "ridge": {"estimator": "ridge"},
                },
            }
        }
    }
)


def test_sundays_have_a_full_week_each():
    sundays, until = read_days("2014-06-29", "2014-07-15", "7d")

    assert [str(day.date()) for day in sundays] == ["2014-06-29", "2014-07-06"]
    assert str(until.date()) == "2014-07-13"


@pytest.mark.parametrize(
    ("days", "told"),
    [
        (("soon", "2014-07-06", "7d"), "--from: expected a date such as 2014-07-06, got 'soon'"),
        (("", "2014-07-06", "7d"), "--from: expected a date such as 2014-07-06, got ''"),
        (("2014-07-06", "2014-08-06T00:00Z", "7d"), "--to: expected a date"),
        (("2014-07-06", "2014-07-12", "7d"), "--to: 2014-07-12 is less than 7 days after"),
        (("2014-07-06", "2014-08-06", "36h"), "--every: expected whole days such as 7d"),
        (("2014-07-06", "2014-08-06", "-7d"), "--every: expected whole days"),
        (("2014-07-06", "2014-08-06", "weekly"), "--every: expected whole days"),
    ],
)
def test_days_that_make_no_sense(days, told):
    with pytest.raises(UserError, match=re.escape(told)):
        read_days(*days)


def policy(folder: Path, text: str) -> UseCase:
    path = folder / "mine.yml"
    path.write_text(text)
    return read_policy(path, "power", POWER)


def test_a_policy_overrides_single_keys(tmp_path):
    found = policy(tmp_path, "release: {min_gain: 0.1}\nmonitoring: {watch: {failing: 3}}")

    assert found.release.min_gain == 0.1
    assert found.release.slices == POWER.release.slices
    assert found.monitoring.watch.failing == 3
    assert found.monitoring.watch.min_rows == POWER.monitoring.watch.min_rows
    assert found.targets == POWER.targets


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "expected the keys release and monitoring"),
        ("release: {min_gian: 1}", "parameter power.release.min_gian: unknown key; allowed are"),
        ("targets: {}", "['targets']: a policy has the keys ['release', 'monitoring'] alone"),
        ("release: {min_gain: much}", "parameter power.release.min_gain: Input should be"),
        ("release: {metric: beauty}", "parameter power.release.metric: 'beauty' does not rank"),
        ("release: {refit: all}", "release.refit: all: models are trained once for all policies"),
        ("monitoring: {watch: {failing: 6}}", "failing: 6 windows of 5 cannot fail"),
        ("a: [", "expected YAML"),
    ],
)
def test_a_policy_that_cannot_be_used(tmp_path, text, told):
    with pytest.raises(ConfigError) as raised:
        policy(tmp_path, text)

    assert "mine.yml: " in str(raised.value)
    assert told in str(raised.value)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[{kind: flood, from: 2014-01-01, to: 2014-01-02}]", "x.yml: incident 1: Input tag"),
        ("[{kind: latency, from: 2014-01-01, to: 2014-01-02}]", "x.yml: incident 1: ms: Field req"),
        ("[{kind: bad_data, from: 2014-01-03, to: 2014-01-02}]", "to: 2014-01-02 is before from"),
        (
            "[{kind: bad_data, from: 2014-01-01, to: 2014-01-02},"
            " {kind: drift, from: 2014-01-01, to: 2014-01-02, change: {kind: shift}}]",
            "x.yml: incident 2: change.columns: Field required",
        ),
        ("{kind: bad_data}", "x.yml: Input should be a valid list"),
    ],
)
def test_an_incident_that_cannot_be_read(text, told):
    with pytest.raises(ConfigError) as raised:
        read_incidents(yaml.safe_load(text), "x.yml")

    assert told in str(raised.value)


def test_a_policy_may_not_have_the_name_of_another():
    check_names(policies(POWER, {"cautious": POWER}))

    with pytest.raises(UserError, match=r"named \['configured'\] already: rename the file"):
        check_names(policies(POWER, {"configured": POWER}))


def rows(n: int = 48 * 20) -> pd.DataFrame:
    times = pd.date_range("2014-01-01", periods=n, freq="30min")
    numbers = np.arange(n, dtype=float)
    return pd.DataFrame({"time": times, "demand": numbers, "temperature": numbers, "workday": 1})


def test_drift_changes_the_rows_of_its_days_alone():
    text = (
        "[{kind: drift, from: 2014-01-05, to: 2014-01-06,"
        " change: {kind: shift, columns: [temperature], amount: 2}}]"
    )
    before = rows()

    after = changed_rows(before, POWER.data, read_incidents(yaml.safe_load(text), "x"), seed=1)

    changed = after["temperature"] != before["temperature"]
    assert sorted({str(day.date()) for day in after.loc[changed, "time"]}) == [
        "2014-01-05",
        "2014-01-06",
    ]
    moved = (after["temperature"] - before["temperature"])[changed]
    np.testing.assert_allclose(moved, 2 * before["temperature"].std(ddof=0))
    pd.testing.assert_frame_equal(
        after.drop(columns="temperature"), before.drop(columns="temperature")
    )


def stages(
    folder: Path, typed: pd.DataFrame, use_case: UseCase = POWER, seed: int = 1
) -> StageStore:
    return StageStore(TrainingSpec("here", "test", "power"), use_case, typed, folder, seed, jobs=1)


def test_a_stage_is_kept_by_what_decides_what_comes_out(tmp_path):
    day, typed = pd.Timestamp("2014-01-10"), rows()
    job = stages(tmp_path, typed).job(day)

    more = stages(tmp_path, pd.concat([typed, rows(48 * 25).tail(240)])).job(day)
    assert more.stage == job.stage  # later rows do not change what was trained ...
    assert more.answers != job.answers  # ... but there are more to answer

    other_policy = POWER.model_copy(
        update={"release": POWER.release.model_copy(update={"keep": 1})}
    )
    assert stages(tmp_path, typed, other_policy).job(day) == job

    assert stages(tmp_path, typed).job(day + pd.Timedelta(days=1)).stage != job.stage
    assert stages(tmp_path, typed, seed=2).job(day).stage != job.stage
    earlier = typed.assign(demand=typed["demand"].where(typed.index > 0, 5.0))
    assert stages(tmp_path, earlier).job(day).stage != job.stage


def test_days_of_a_replay_are_those_of_the_local_clock(tmp_path):
    column = POWER.data.columns["time"].model_copy(update={"timezone": "Asia/Tokyo"})
    columns = {**POWER.data.columns, "time": column}
    local = POWER.model_copy(update={"data": POWER.data.model_copy(update={"columns": columns})})
    typed = rows()
    zoned = typed.assign(time=typed["time"].dt.tz_localize("Asia/Tokyo"))
    known, later = (pd.Timestamp(day) for day in ("2014-01-10", "2014-01-10 23:30"))

    store = stages(tmp_path, zoned, local)

    told = store._on_clock(pd.DataFrame({"time": [pd.Timestamp("2014-01-09 15:00")]}))
    assert store._moment("2014-01-10T14:30:00") == later.isoformat()
    assert told["time"].tolist() == [known]


def test_all_code_that_trains_decides_where_a_stage_is_kept():
    source = Path(ratchet.__file__).parent

    used = {path.relative_to(source).as_posix() for path in code_of(POWER)}

    preparation = {path.name for path in (source / "preparation").glob("[!_]*.py")}
    assert preparation
    assert {f"preparation/{name}" for name in preparation} <= used
    phases = ("preprocessing", "classical", "recurrent", "evaluation")
    assert {f"pipelines/{phase}.py" for phase in phases} <= used
    assert used >= {
        *("replay/training.py", "use_cases/power.py"),
        *("learning/classical.py", "learning/recurrent/architectures/hybrid.py"),
        *("production/release_candidates.py", "bundle/writer.py", "bundle/scoring_frame.py"),
    }
    # A change of these trains nothing.
    others = ("monitoring", "replay/page", "hooks", "reports", "gate/verdict", "use_cases/f")
    assert [path for path in used if path.startswith(others)] == []


def test_a_stage_that_was_cut_short_is_made_again(tmp_path, monkeypatch):
    job = stages(tmp_path, rows()).job(pd.Timestamp("2014-01-10"))

    def killed(spec, day, typed, folder):
        (folder / "half").touch()
        raise KeyboardInterrupt

    monkeypatch.setattr(training, "train", killed)
    with pytest.raises(KeyboardInterrupt):
        training.run_stage_job(TrainingSpec("here", "test", "power"), job, rows())
    assert not job.is_done

    monkeypatch.setattr(training, "train", lambda *args: (args[-1] / "stage.json").touch())
    training.run_stage_job(TrainingSpec("here", "test", "power"), job, rows())
    assert [path.name for path in job.stage.iterdir()] == ["stage.json"]
    assert job.is_done

    monkeypatch.setattr(training, "train", killed)
    training.run_stage_job(
        TrainingSpec("here", "test", "power"), job, rows()
    )  # is there: nothing is done


def test_examples_of_the_documentation_can_be_used(tmp_path):
    blocks = re.findall(r"```yaml\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    contents = [yaml.safe_load(block) for block in blocks]
    found = [content for content in contents if isinstance(content, dict)]
    incidents = [content for content in contents if isinstance(content, list)]

    assert found
    assert incidents
    for content in found:
        policy(tmp_path, yaml.safe_dump(content))
    kinds = {one.kind for content in incidents for one in read_incidents(content, "docs")}
    assert kinds == {"drift", "bad_data", "latency", "broken_model"}


def test_test_rows_of_the_day_that_learning_ended_are_answered():
    from types import SimpleNamespace

    times = pd.Series(pd.to_datetime(["2014-01-01", "2014-01-01", "2014-01-02"]), index=[1, 2, 3])
    bundle = SimpleNamespace(
        rows=pd.DataFrame({"part": ["validation", "test"]}, index=[1, 2]),
        manifest={"last_row": "2014-01-01"},
        use_case=SimpleNamespace(targets={"load": None}),
        predict=lambda features: {"load": pd.DataFrame({"prediction": 0.0}, index=features.index)},
    )
    seen = SimpleNamespace(
        features=pd.DataFrame(index=times.index),
        times_of=lambda keys: times[keys],
        new_keys=lambda moment: times.index[times > moment],
        rows_of=lambda keys: keys,
        truth=lambda target: pd.Series(dtype=float),
    )

    assert list(training._answers(bundle, seen)["load"].index) == [2, 3]
