"""The environment check finds what is really broken, and says how to mend it."""

import json
import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from ratchet import environment_checks
from ratchet.environment_checks import FAIL, INFO, OK, WARN, Finding

PROJECT = Path(__file__).parents[1]


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project folder that has what the check looks for, and one installed package."""
    for folder in ("data", "conf/local", "requirements"):
        (tmp_path / folder).mkdir(parents=True)
    for name in environment_checks.SAMPLES:
        sample = tmp_path / "data/01_raw/samples" / name
        sample.parent.mkdir(parents=True, exist_ok=True)
        sample.touch()
    (tmp_path / "requirements/run.txt").write_text("some-package==1.2 \\\n    --hash=sha256:00\n")
    install(tmp_path, "Some_Package", "1.2")
    return tmp_path


def install(project: Path, name: str, version: str) -> Path:
    """What an installer leaves behind of a package."""
    info = project / f".venv/lib/python3.11/site-packages/{name}-{version}.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    return info


def test_whole_project_passes(project):
    findings = environment_checks.run_checks(project)
    findings.pop("disk")  # how full this machine is, is not the project's doing

    assert environment_checks.passed(findings), environment_checks.as_table(findings)
    assert {*findings, "disk"} == environment_checks.CHECKS.keys()


@pytest.mark.parametrize(
    ("version", "status"), [((3, 11, 9), OK), ((3, 10, 4), FAIL), ((3, 12), FAIL)]
)
def test_only_the_locked_python_is_right(project, version, status):
    assert environment_checks.check_python(project, version).status == status


def test_python_is_the_one_that_pyproject_asks_for():
    wanted = ".".join(map(str, environment_checks.PYTHON))

    assert f'requires-python = ">={wanted},' in (PROJECT / "pyproject.toml").read_text()


def test_lock_is_read_with_names_as_compared_and_markers():
    lock = (
        "Typing.Extensions==4.16.0 \\\n    --hash=sha256:aa==bb\n"
        "uvloop==0.23.0 ; sys_platform != 'win32' \\\n    --hash=sha256:cc\n"
        "plain==1\n"
    )

    assert environment_checks.read_pins(lock) == [
        ("typing-extensions", "4.16.0", ""),
        ("uvloop", "0.23.0", "sys_platform != 'win32'"),
        ("plain", "1", ""),
    ]


def test_every_pin_of_our_own_lock_is_read():
    lock = (PROJECT / "requirements/run.txt").read_text()

    assert len(environment_checks.read_pins(lock)) == sum(
        "==" in line and line[0].isalnum() for line in lock.splitlines()
    )


def test_other_version_is_found(project):
    (project / "requirements/run.txt").write_text("some-package==1.3\n")

    finding = environment_checks.check_packages(project)

    assert finding.status == FAIL
    assert "some-package 1.2 (needs 1.3)" in finding.detail
    assert "make setup" in finding.remedy


def test_missing_package_is_found(project):
    (project / "requirements/run.txt").write_text("some-package==1.2\nother==2.0\n")

    assert "1 of 2 differ" in environment_checks.check_packages(project).detail


def test_package_cut_short_counts_as_missing(project):
    (install(project, "other", "2.0") / "METADATA").unlink()
    (project / "requirements/run.txt").write_text("some-package==1.2\nother==2.0\n")

    assert "other missing (needs 2.0)" in environment_checks.check_packages(project).detail


def test_package_for_another_system_is_not_asked_for(project):
    (project / "requirements/run.txt").write_text(
        "pywin32==312 ; sys_platform == 'no such system'\n"
    )

    assert environment_checks.check_packages(project).status == OK


def test_markers_without_a_library_to_read_them(monkeypatch):
    monkeypatch.setitem(sys.modules, "packaging.markers", None)
    monkeypatch.setitem(sys.modules, "pip._vendor.packaging.markers", None)

    assert environment_checks.applies("")
    assert not environment_checks.applies(f"sys_platform == '{sys.platform}'")


def test_missing_sample_is_named(project):
    (project / "data/01_raw/samples" / environment_checks.SAMPLES[0]).unlink()

    finding = environment_checks.check_samples(project)

    assert finding.status == FAIL
    assert "movies.db" in finding.detail
    assert "avocados" not in finding.detail


def test_missing_folder_is_to_be_made(project):
    (project / "conf/local").rmdir()

    finding = environment_checks.check_writable(project, "conf/local")

    assert finding == Finding(FAIL, "does not exist", "mkdir -p conf/local")


def test_file_in_place_of_a_folder_is_not_writable(project):
    (project / "conf/local").rmdir()
    (project / "conf/local").touch()

    assert environment_checks.check_writable(project, "conf/local").status == FAIL


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_folder_without_write_permission(project):
    (project / "data").chmod(0o500)

    assert environment_checks.check_writable(project, "data").status == FAIL


def test_busy_port_is_found_and_free_again_afterwards(project):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        busy = environment_checks.check_port(project, port, "VIZ_PORT")
    free = environment_checks.check_port(project, port, "VIZ_PORT")

    assert busy.status == WARN
    assert "VIZ_PORT=" in busy.remedy
    assert free.status == OK


@pytest.mark.parametrize(
    ("check", "status"),
    [(environment_checks.check_disk, FAIL), (environment_checks.check_memory, WARN)],
)
def test_room_is_compared_with_the_need(project, check, status):
    assert check(project, needed=1.0).status == OK
    assert check(project, needed=1e18).status == status


def test_room_is_not_asked_for_what_is_there(project, monkeypatch):
    usage = type("Usage", (), {"free": 2e9})
    monkeypatch.setattr(environment_checks.shutil, "disk_usage", lambda _: usage)

    whole = environment_checks.check_disk(project)
    shutil.rmtree(project / ".venv")

    assert whole.status == OK
    assert environment_checks.check_disk(project).status == FAIL


def test_files_that_a_container_has_read_are_not_used_memory(tmp_path):
    (tmp_path / "memory.max").write_text("5000\n")
    (tmp_path / "memory.current").write_text("4000\n")
    (tmp_path / "memory.stat").write_text("anon 900\nactive_file 100\ninactive_file 3000\n")

    assert environment_checks.available_memory(tmp_path) == 4000


def optional(*commands: str, timeout: float = 10) -> Finding:
    return environment_checks.check_optional(
        Path(), commands=commands, use="tests", how="apt install it", timeout=timeout
    )


def program(folder: Path, name: str, script: str) -> None:
    """Put a program into a folder."""
    (folder / name).write_text(f"#!/bin/sh\n{script}\n")
    (folder / name).chmod(0o755)


def test_optional_program_is_found_under_any_of_its_names():
    assert optional("no-such-program", "sh").status == OK
    assert optional("no-such-program") == Finding(
        INFO, "not found. Optional: tests", "apt install it"
    )


def test_client_without_its_engine_does_not_count(tmp_path, monkeypatch):
    program(tmp_path, "docker", "echo 'no daemon' >&2; exit 1")
    program(tmp_path, "podman", "exit 0")
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")

    assert optional("docker info", "podman info").detail == f"{tmp_path}/podman (podman info)"
    assert optional("docker info").status == INFO
    assert "docker info: no daemon" in optional("docker info").detail


def test_program_that_hangs_does_not_hold_the_check_up(tmp_path, monkeypatch):
    program(tmp_path, "docker", "exec sleep 60")
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")

    assert "timed out" in optional("docker info", timeout=0.2).detail


def test_programs_of_postgresql_are_found_off_the_path(tmp_path, monkeypatch):
    program(tmp_path, "a-program-of-postgresql", "exit 0")
    monkeypatch.setattr(environment_checks, "POSTGRESQL", (tmp_path,))

    assert optional("a-program-of-postgresql").status == OK


def test_nothing_optional_fails_the_check(project, monkeypatch):
    monkeypatch.setenv("PATH", str(project))  # has no program at all
    monkeypatch.setattr(environment_checks, "POSTGRESQL", ())

    findings = environment_checks.run_checks(project)
    absent = {name for name, finding in findings.items() if finding.status == INFO}

    assert absent == {"git", "container engine", "compose", "kubectl", "PostgreSQL", "Redis"}
    assert all("Optional: " in findings[name].detail for name in absent)
    findings.pop("disk")
    assert environment_checks.passed(findings)


def test_check_that_breaks_does_not_hide_the_others(project):
    (project / "requirements/run.txt").unlink()

    findings = environment_checks.run_checks(project)

    assert findings["packages"].status == FAIL
    assert "FileNotFoundError" in findings["packages"].detail
    assert findings["sample data"].status == OK


def test_whatever_is_not_well_has_a_remedy(tmp_path):
    findings = environment_checks.run_checks(tmp_path)

    assert not environment_checks.passed(findings)
    assert all(finding.remedy for finding in findings.values() if finding.status != OK)


@pytest.mark.parametrize("broken", [False, True])
def test_command_prints_json_and_its_exit_code_tells(project, broken):
    if broken:
        (project / "conf/local").rmdir()

    # As `make check` runs it: a file, in isolation, without the project's packages.
    command = [
        sys.executable,
        "-I",
        "-S",
        environment_checks.__file__,
        "--json",
        "--project",
        project,
    ]
    result = subprocess.run(command, capture_output=True, text=True, check=False)

    report = json.loads(result.stdout)
    statuses = {row["check"]: row["status"] for row in report["findings"]}
    assert statuses["conf/local/"] == (FAIL if broken else OK)
    assert report["passed"] is (FAIL not in statuses.values())
    assert result.returncode == int(FAIL in statuses.values())


def test_table_gives_the_remedy_below_its_row(capsys, project):
    (project / "conf/local").rmdir()

    exit_code = environment_checks.main(["--project", str(project)])

    lines = capsys.readouterr().out.splitlines()
    row = next(number for number, line in enumerate(lines) if "conf/local/" in line)
    assert exit_code == 1
    assert lines[row].startswith("FAIL")
    assert lines[row + 1].strip() == "-> mkdir -p conf/local"
