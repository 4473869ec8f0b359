"""Every command of the documentation is run by a test, or checked and said why it is not run."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shlex
import subprocess
from argparse import ArgumentParser
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

import click
import pytest
import yaml
from dvc.cli import DvcParserError

from tests.documented_commands import (
    BLOCKS,
    COMMANDS,
    MENTIONED,
    ROOT,
    WHAT_IS_DONE,
    Command,
    what_is_done,
)

HOW_TO_GO_ON = (
    "Nothing is said of what tests do with this command. Name it, or its beginning, in "
    "WHAT_IS_DONE of tests/documented_commands.py: as one that is run, or with the reason why not."
)
LANGUAGES = {"sh", "console", "yaml", "json", "python", "sql", "promql", "mermaid", "text"}
PLACEHOLDER = re.compile(r"<[\w -]+>|\.\.\.|^[A-Z]$")


@pytest.mark.parametrize("block", BLOCKS, ids=lambda block: f"{block.page}:{block.line}")
def test_blocks_name_their_language(block):
    assert block.language in LANGUAGES, "sh for commands, console for commands with their output"


@pytest.mark.parametrize("command", COMMANDS, ids=str)
def test_command_is_run_or_a_reason_is_given(command):
    done = what_is_done(command)

    assert done is not None, HOW_TO_GO_ON
    assert done.runs or done.reason


def test_nothing_is_said_of_commands_that_no_page_has():
    used = {id(what_is_done(command)) for command in COMMANDS}

    assert [name for name, done in WHAT_IS_DONE.items() if id(done) not in used] == []


# Many pages show the same command, and a check takes up to a second.
DIFFERENT = list({(one.text, one.is_whole): one for one in [*COMMANDS, *MENTIONED]}.values())


@pytest.mark.parametrize("command", DIFFERENT, ids=str)
def test_command_can_be_given(command, documented_project):
    check = CHECKS.get(command.words[0])
    if check is not None:
        check(command)


@pytest.fixture(scope="module")
def documented_project(tmp_path_factory, make_project):
    """We stand in a project with the files of configuration that the pages have readers write."""
    from kedro.framework.startup import bootstrap_project

    project = make_project(tmp_path_factory.mktemp("documented"))
    for block in BLOCKS:
        named = re.match(r"# (?!conf/base/|conf/local/)(\S+\.yml)\n", block.content)
        if block.language == "yaml" and named:
            path = project / named[1]
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(block.content)
    bootstrap_project(project)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(project)
        yield project
    _parameters.cache_clear()


@cache
def _parameters(env: str | None) -> Mapping[str, Any]:
    from ratchet.config.loader import project_loader

    return project_loader(env)[0]["parameters"]


@pytest.mark.parametrize(
    "block",
    [x for x in BLOCKS if x.language == "yaml" and x.page.startswith(("docs/how-to", "docs/tut"))],
    ids=lambda block: f"{block.page}:{block.line}",
)
def test_parameters_of_use_cases_are_valid(block, documented_project):
    """An example sets parameters that exist, whether a page gives all of them or some."""
    from ratchet.config.kedro_loader import deep_merge
    from ratchet.config.loader import read_use_cases

    content = yaml.safe_load(block.content)
    environments = [path.name for path in (documented_project / "conf").iterdir()]
    known = _parameters(None)
    for name in content if isinstance(content, dict) else []:
        env = name if name in environments else None
        if name in known or (env and name in _parameters(env)):
            merged = deep_merge(_parameters(env)[name], content[name])
            if "${" not in block.content:
                read_use_cases({name: merged})


def check_kedro(command: Command) -> None:
    """Options and arguments are those of the command; what a run names exists."""
    if command.words[1].startswith("-"):
        return
    context = _context(_kedro(command.words[1]), command.words[2:], command)
    if command.words[1] == "run" and context is not None:
        _check_run(**context.params)


def _context(given: click.Command, words: list[str], command: Command) -> click.Context | None:
    """A command with its arguments, of the innermost group; None if it lacks some and may."""
    try:
        context = given.make_context(given.name, list(words))
    except click.exceptions.Exit:  # --help
        return None
    except (click.MissingParameter, click.BadOptionUsage, click.exceptions.NoArgsIsHelpError):
        assert not command.is_whole, f"{command} lacks what it needs"
        return None
    if not isinstance(given, click.Group):
        return context
    rest = [*context._protected_args, *context.args]
    if not rest:
        assert not command.is_whole, f"{command} names no command"
        return None
    inner = given.get_command(context, rest[0])
    assert inner is not None, f"{given.name} has no command {rest[0]}"
    return _context(inner, rest[1:], command)


@cache
def _kedro(name: str) -> click.Command:
    from ratchet.cli import cli

    if name in cli.commands:
        return cli.commands[name]
    from kedro.framework.cli.cli import KedroCLI

    found = KedroCLI(project_path=ROOT).get_command(click.Context(cli), name)
    assert found is not None, f"kedro has no command {name}"
    return found


def _check_run(
    *,
    env: str | None,
    params: dict[str, Any],
    pipelines: list[str],
    namespaces: list[str],
    candidates: list[str],
    **_: Any,
) -> None:
    from kedro.pipeline import Pipeline

    from ratchet.config.kedro_loader import deep_merge
    from ratchet.config.loader import RUN_PARAMETERS, candidate_overrides, read_use_cases
    from ratchet.pipeline_registry import PHASES

    parameters = _parameters(env)
    assert params.keys() <= {*RUN_PARAMETERS, *parameters}
    touched = {*params, *(name.split(".")[0] for name in (*namespaces, *pipelines))}
    use_cases = read_use_cases(
        deep_merge({name: parameters[name] for name in touched & parameters.keys()}, params)
    )
    assert {*pipelines} <= {*PHASES, *use_cases, "status"}
    for namespace in namespaces:
        name = namespace.split(".")[0]
        phases = [PHASES[phase] for phase in pipelines or PHASES]
        made = [create(name, use_cases[name]) for create in phases]
        Pipeline(made).filter(node_namespaces=[namespace])
    candidate_overrides(read_use_cases(parameters) if candidates else {}, candidates)


OF_MAKE = {"ARGS", "MAKEFLAGS", "MAKELEVEL", "MAKEOVERRIDES", "MFLAGS"}


def check_make(command: Command) -> None:
    """The target and the variables exist, and so does the command of ours that comes of it."""
    makefile = (ROOT / "Makefile").read_text()
    for variable in re.findall(r"^(\w+)=", "\n".join(command.words[1:]), re.MULTILINE):
        assert re.search(rf"^(export )?{variable} \?=", makefile, re.MULTILINE), variable
    words = [word for word in command.words[1:] if not PLACEHOLDER.search(word)]
    # Without what was given to the make that runs the tests: ARGS, and its own flags.
    own = {name: value for name, value in os.environ.items() if name not in OF_MAKE}
    planned = subprocess.run(
        ["make", "-n", *words], cwd=ROOT, capture_output=True, text=True, check=False, env=own
    )
    assert planned.returncode == 0, planned.stderr
    for line in planned.stdout.splitlines():
        if line.startswith(".venv/bin/python -m kedro "):
            kedro = line.removeprefix(".venv/bin/python -m ")
            check_kedro(Command(command.page, command.line, kedro, command.is_whole))
        elif "ratchet.airflow.standalone dags trigger" in line:
            _check_trigger(line.split("dags trigger ", 1)[1])


def _check_trigger(arguments: str) -> None:
    """The DAG is one of a use case, and its run takes these parameters."""
    dag, _, rest = arguments.partition(" ")
    kind, _, use_case = dag.partition("_")
    manifest = json.loads((ROOT / "dags/manifest.json").read_text())
    assert kind in ("retrain", "monitor")
    assert use_case in json.dumps(manifest)
    if rest:
        drawn = (ROOT / "dags" / f"{kind}.py").read_text() + "".join(
            path.read_text() for path in (ROOT / "dags/ratchet_dags").glob("*.py")
        )
        conf = json.loads(re.search(r"--conf '(.*)'", rest)[1])
        assert [name for name in conf if f'"{name}"' not in drawn] == []


@cache
def _content(name: str) -> Any:
    """Content of a YAML file, which takes a tenth of a second to read."""
    return yaml.safe_load((ROOT / name).read_text())


@cache
def _dvc_parser() -> ArgumentParser:
    from dvc.cli.parser import get_main_parser

    return get_main_parser()


def check_dvc(command: Command) -> None:
    """DVC takes the arguments, and the stages are in dvc.yaml."""
    try:
        parsed = _dvc_parser().parse_args(command.words[1:])
    except DvcParserError:
        if command.is_whole:
            raise
        return
    stages = _content("dvc.yaml")["stages"]
    if command.words[1] in ("repro", "status") or command.words[1:3] == ["exp", "run"]:
        assert set(parsed.targets or []) <= set(stages)


def check_python(command: Command) -> None:
    """Module or file exist, and the file knows the options."""
    words = command.words[1:]
    if words[0] == "-c":
        compile(words[1], str(command), "exec")
    elif words[0] == "-m":
        assert importlib.util.find_spec(words[1]) is not None, f"no module {words[1]}"
    else:
        source = (ROOT / words[0]).read_text()
        options = [word.split("=")[0] for word in words[1:] if word.startswith("--")]
        assert [option for option in options if f'"{option}"' not in source] == []


def check_export(command: Command) -> None:
    """Something of ours, of MLflow or of Airflow reads the variable."""
    sources = "".join(path.read_text() for path in ROOT.glob("src/ratchet/**/*.py"))
    for word in command.words[1:]:
        name = word.partition("=")[0]
        known = name == "COMPOSE_FILE" or name.startswith(("AIRFLOW__", "MLFLOW_"))
        assert known or f'"{name}"' in sources, name


def check_docker(command: Command) -> None:
    """Services are in the compose file, and so is a command of ours that one runs."""
    words = command.words
    if words[1] != "compose":
        return
    services = _content("deploy/compose.yaml")["services"]
    verb, *rest = words[2:]
    if verb in ("run", "exec"):
        place = next(index for index, word in enumerate(rest) if word in services)
        own = services[rest[place]].get("entrypoint", []) if verb == "run" else []
        words = [*(word for word in own if word not in ("dumb-init", "--")), *rest[place + 1 :]]
        assert words[:1] != words[1:2], f"the entry point of {rest[place]} is that program"
        inner = Command(command.page, command.line, shlex.join(words))
        if (check := CHECKS.get(inner.words[0])) and "--entrypoint" not in rest:
            check(inner)
    else:
        names = [word for word in rest if not word.startswith("-") and "=" not in word]
        assert set(names) <= services.keys()


def check_script(command: Command) -> None:
    """It is there, and can be run."""
    assert os.access(ROOT / command.words[0], os.X_OK)


def check_try_locally(command: Command) -> None:
    """The program that the script calls knows the options."""
    text = command.text.replace("deploy/try-locally", "python deploy/try_locally.py")
    check_python(Command(command.page, command.line, text))


CHECKS: dict[str, Callable[[Command], None]] = {
    "kedro": check_kedro,
    "make": check_make,
    "deploy/make-secrets": check_script,
    "docker": check_docker,
    "dvc": check_dvc,
    "python": check_python,
    "python3": check_python,
    ".venv/bin/python": check_python,
    "export": check_export,
    "deploy/try-locally": check_try_locally,
}
"""Program -> what is checked of its arguments without running it."""


def example(text: str, whole: bool = True) -> Command:
    return Command("page.md", 1, text, is_whole=whole)


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("kedro run --pipelins films", click.NoSuchOption),
        ("kedro run --pipelines film", AssertionError),
        ("kedro run --namespaces films.ratings", ValueError),
        ("kedro run --params films.targets.rating.confidenc=0.8", Exception),
        ("kedro run --candidates lasso", Exception),
        ("kedro ratchet ledgr", AssertionError),
        ("kedro ratchet promote --use-case films", AssertionError),
        ("kedro ratchet status --jason", click.NoSuchOption),
        ("make rum", AssertionError),
        ("make serve PORT=8000", AssertionError),
        ('make run ARGS="--pipelins films"', click.NoSuchOption),
        (
            'make airflow ARGS="dags trigger retrain_power --conf \'{\\"as_off\\": 1}\'"',
            AssertionError,
        ),
        ("docker compose up -d server", AssertionError),
        ("docker compose run --rm train kedro ratchet statsu", AssertionError),
        ("docker compose run --rm mlflow mlflow db upgrade sqlite://", AssertionError),
        ("docker compose exec service ls", StopIteration),
        ("dvc repo", DvcParserError),
        ("dvc repro reporting_film", AssertionError),
        ("python benchmarks/gates.py", FileNotFoundError),
        ("python benchmarks/gate.py --fats", AssertionError),
        ("export RATCHET_NO_SUCH_THING=1", AssertionError),
    ],
)
def test_wrong_commands_are_found(text, error, documented_project):
    command = example(text)

    with pytest.raises(error):
        CHECKS[command.words[0]](command)


def test_command_within_a_text_may_lack_what_it_needs(documented_project):
    check_kedro(example("kedro ratchet promote", whole=False))
    with pytest.raises(click.NoSuchOption):
        check_kedro(example("kedro ratchet promote --two 3", whole=False))
