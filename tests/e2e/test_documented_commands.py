"""The commands of the documentation work, one after the other in a project that has been run."""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

import pytest
from click.testing import CliRunner, Result

from tests.conftest import FILMS_UP_TO
from tests.documented_commands import COMMANDS, ROOT, Command, what_is_done

pytestmark = pytest.mark.slow  # whole use cases were run before

RUN = [command for command in COMMANDS if (done := what_is_done(command)) and done.runs]
PRICED = ["understanding", "preprocessing", "classical", "evaluation", "pricing", "release"]
OTHER_ENVIRONMENTS = ("week", "backfill")
"""Those that commands name; their data are a copy of what was run in ``test``."""

WITHOUT_PROXY = dict.fromkeys(("no_proxy", "NO_PROXY"), "127.0.0.1")


@pytest.fixture(scope="module")
def project(
    tmp_path_factory: pytest.TempPathFactory,
    make_project: Callable[..., Path],
    films_project: Path,
    power_project: Path,
    run_kedro: Callable[..., None],
) -> Iterator[Path]:
    """We stand in a project with three use cases, in which versions serve and could be taken back.

    ``KEDRO_ENV`` names the small environment, as the commands do not.
    """
    from kedro.framework.startup import bootstrap_project

    folder = make_project(tmp_path_factory.mktemp("documented"), ["films", "power", "market"])
    for made in (films_project, power_project):
        shutil.copytree(made / "data/test", folder / "data/test", dirs_exist_ok=True)
    (folder / ".venv").symlink_to(Path(sys.executable).parents[1])
    shutil.copytree(ROOT / "dags", folder / "dags")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("KEDRO_ENV", "test")
        bootstrap_project(folder)
        run_kedro(folder, "release", namespaces=["films"], as_of=FILMS_UP_TO)
        run_kedro(folder, *PRICED, namespaces=["market"])
        for use_case in ("films", "power"):  # 1 is the naive model
            promote(use_case, "1")
            promote(use_case, "2")
        promote("market", "2")
        for env in OTHER_ENVIRONMENTS:
            shutil.copytree(folder / "data/test", folder / "data" / env)
        yield folder


def promote(use_case: str, version: str) -> None:
    """Let a version serve, whatever the gate says of small models."""
    why = ("--to", version, "--reason", "to be shown")
    done = type_in("ratchet", "promote", "--use-case", use_case, *why)
    assert done.exit_code == 0, done.output


def type_in(*words: str) -> Result:
    """Run a command of Kedro within this process, which has loaded the libraries."""
    from ratchet.cli import cli

    return CliRunner().invoke(cli, words, catch_exceptions=False)


@pytest.fixture(scope="module")
def service(project: Path) -> Iterator[str]:
    """Address of a service that answers for all use cases of the project."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    (project / "conf/local/api_keys.json").unlink(missing_ok=True)  # the pages send none
    log = project / "service.log"
    with log.open("w") as out:
        process = subprocess.Popen(
            [sys.executable, "-m", "kedro", "ratchet", "serve", "--port", str(port)],
            env=os.environ | WITHOUT_PROXY,
            stdout=out,
            stderr=subprocess.STDOUT,
        )
    address = f"http://127.0.0.1:{port}"
    end = time.monotonic() + 120
    while not is_ready(address):
        assert process.poll() is None, log.read_text()
        assert time.monotonic() < end, log.read_text()
        time.sleep(0.2)
    yield address
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) in (0, -signal.SIGTERM), log.read_text()


def is_ready(address: str) -> bool:
    try:
        with urlopen(f"{address}/health/ready", timeout=5) as answer:
            return bool(answer.status == 200)
    except (URLError, OSError):
        return False


@pytest.mark.parametrize("command", [x for x in RUN if x.words[0] != "curl"], ids=str)
def test_command_ends_well(command: Command, project: Path) -> None:
    done = what_is_done(command)

    if command.words[0] == "kedro":
        words = list(command.words[1:])
        if "--at" in words:  # the pages were written at other times than these versions
            words[words.index("--at") + 1] = datetime.now(UTC).isoformat()
        if words[1:3] == ["keys", "add"]:  # several pages add the same one
            (project / "conf/local/api_keys.json").unlink(missing_ok=True)
        result = type_in(*words)
        code, printed = result.exit_code, result.output
    else:
        shell = subprocess.run(
            ["bash", "-c", command.text], capture_output=True, text=True, check=False
        )
        code, printed = shell.returncode, shell.stdout + shell.stderr

    assert code in done.exit_codes, printed


@pytest.mark.parametrize("command", [x for x in RUN if x.words[0] == "curl"], ids=str)
def test_request_is_answered(command: Command, service: str) -> None:
    if shutil.which("curl") is None:
        pytest.skip("curl is not installed")
    text = command.text.replace("http://127.0.0.1:8000", service)
    done = subprocess.run(
        ["curl", "--silent", "--show-error", "--fail-with-body", *shlex.split(text)[1:]],
        env=os.environ | WITHOUT_PROXY,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )

    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout
