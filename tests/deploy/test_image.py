"""The image `serve`, built by Buildah and started read-only, as an ordinary user.

Buildah needs root here, but no daemon. The base image is named by ``RATCHET_TEST_BASE``, or made by
debootstrap once: Debian without its documentation, as in the slim images.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
import sqlalchemy as sa

from ratchet.bundle.smoke_test import run_smoke_test
from ratchet.registry.actions import promote
from ratchet.registry.export import export_models
from ratchet.registry.registry import Registry
from ratchet.serving.keys import add_key

pytestmark = [pytest.mark.container, pytest.mark.slow]

ROOT = Path(__file__).parents[2]
BASE = "localhost/ratchet-test-base"
IMAGE = "localhost/ratchet-test-serve"
USER = 10001
CERTIFICATES = Path("/etc/ssl/certs")
APT = ("var/cache/apt", "var/lib/apt/lists")

IN_CONTAINER = """
set -e
root=$1 data=$2; shift 2
mount --bind "$root" "$root"
mount -o remount,bind,ro "$root"
mount -t proc proc "$root/proc"
mount -t tmpfs tmpfs "$root/tmp"
mount -t tmpfs -o size=1m,mode=755 tmpfs "$root/dev"
for device in null zero random urandom; do
    touch "$root/dev/$device"
    mount --bind "/dev/$device" "$root/dev/$device"
done
mount -o remount,ro "$root/dev"
mount --bind "$data" "$root/app/data"
exec chroot "$root" setpriv --reuid 10001 --regid 10001 --clear-groups --no-new-privs \
    --bounding-set=-all env --ignore-environment --chdir=/app "$@"
"""
"""Starts a program in the root of an image, read-only but for /tmp and the data folder."""

WRITABLE = """
import os, stat
for folder, folders, files in os.walk("/"):
    folders[:] = [name for name in folders if os.path.join(folder, name) != "/proc"]
    for path in (folder, *(os.path.join(folder, name) for name in files)):
        kind = os.lstat(path).st_mode
        if (stat.S_ISDIR(kind) or stat.S_ISREG(kind)) and os.access(path, os.W_OK):
            print(path)
"""


def run(*command: Any, **options: Any) -> str:
    done = subprocess.run(
        list(map(str, command)), capture_output=True, text=True, check=False, **options
    )
    assert done.returncode == 0, f"{command}: {done.stdout[-3000:]}{done.stderr[-3000:]}"
    return done.stdout


def exists(image: str) -> bool:
    command = ["buildah", "inspect", "--type", "image", image]
    found = subprocess.run(command, capture_output=True, check=False)
    return found.returncode == 0


@dataclass(frozen=True)
class Image:
    """An image whose files are mounted at a place."""

    root: Path
    size: int
    base_size: int
    config: dict[str, Any]

    def command(self, data: Path, program: list[str], environ: dict[str, str]) -> list[str]:
        """What starts a program of the image."""
        variables = [*self.config["Env"], *(f"{name}={value}" for name, value in environ.items())]
        namespaces = ["unshare", "--mount", "--pid", "--fork", "--kill-child"]
        shell = ["sh", "-c", IN_CONTAINER, "sh", str(self.root), str(data)]
        return [*namespaces, *shell, *variables, *program]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> str:
    if os.geteuid() != 0 or shutil.which("buildah") is None:
        pytest.skip("containers are built by root with Buildah: apt-get install buildah")
    if image := os.environ.get("RATCHET_TEST_BASE"):
        return image
    if exists(BASE):
        return BASE
    if shutil.which("debootstrap") is None:
        pytest.skip("no base image: set RATCHET_TEST_BASE, or apt-get install debootstrap")
    folder = tmp_path_factory.mktemp("base")
    packages = "--include=ca-certificates,python3,python3-venv"
    run("debootstrap", "--variant=minbase", packages, "bookworm", folder)
    for name in ("usr/share/doc", "usr/share/man", "usr/share/locale", *APT):
        shutil.rmtree(folder / name)
    container = run("buildah", "from", "scratch").strip()
    run("buildah", "add", "--quiet", container, folder, "/")
    path = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    run("buildah", "config", "--env", path, container)
    run("buildah", "commit", "--quiet", "--rm", container, BASE)
    shutil.rmtree(folder)
    return BASE


@pytest.fixture(scope="module")
def image(base: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Image]:
    """The image, built as the how-to says; with the certificates that this machine trusts.

    The files are as a checkout under umask 077 leaves them.
    """
    folder = tmp_path_factory.mktemp("build")
    context = copy_of_context(folder / "context")
    (folder / "pip.conf").write_text(f"[global]\ncert = {CERTIFICATES}/ca-certificates.crt\n")
    (folder / "uv.toml").write_text("system-certs = true\n")
    secrets = [f"--secret=id={name},src={folder / name}" for name in ("pip.conf", "uv.toml")]
    run(
        *("buildah", "bud", "--isolation=chroot", "--layers", "--format=docker", "--quiet"),
        *("--file=deploy/Dockerfile", "--target=serve", f"--build-arg=BASE={base}", *secrets),
        *("--build-arg=VERSION=1.2.3", f"--volume={CERTIFICATES}:{CERTIFICATES}:ro"),
        *(f"--tag={IMAGE}", "."),
        cwd=context,
    )
    container = run("buildah", "from", IMAGE).strip()
    try:
        inspected = json.loads(run("buildah", "inspect", "--type", "image", IMAGE))
        yield Image(
            Path(run("buildah", "mount", container).strip()),
            *(size_of(name) for name in (IMAGE, base)),
            inspected["Docker"]["config"],
        )
    finally:
        run("buildah", "rm", container)


def copy_of_context(folder: Path) -> Path:
    """A copy of the files of the project that images are built from, closed to other users."""
    for name in run(
        "git", "ls-files", "deploy", "requirements", "src", ".dockerignore", cwd=ROOT
    ).split():
        (folder / name).parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        shutil.copyfile(ROOT / name, folder / name)
    run("chmod", "-R", "go=", folder)
    return folder


def size_of(image: str) -> int:
    [found] = json.loads(run("buildah", "images", "--json", image))
    number, unit = found["size"].split()
    return int(float(number) * {"MB": 1e6, "GB": 1e9}[unit])


@pytest.fixture(scope="module")
def data(
    tmp_path_factory: pytest.TempPathFactory, old_registry: Callable[[Path], Registry]
) -> Path:
    """The data folder of the container, with an export of films and weather."""
    registry = old_registry(tmp_path_factory.mktemp("project"))
    promote(
        *(registry, "weather", "2"),
        reason="For the test",
        actor="test",
        check=run_smoke_test,
        need_rollback_target=False,
    )
    folder = tmp_path_factory.mktemp("data")
    export_models(registry, folder / "models", ["films", "weather"])
    os.chown(folder, USER, USER)
    return folder


@dataclass(frozen=True)
class Service:
    """A service that runs in a container."""

    address: str
    key: str
    process: subprocess.Popen[str]
    seconds: dict[str, float]

    @property
    def processes(self) -> dict[str, int]:
        """Last argument -> id of the processes in the container, as the host sees them."""
        found, waiting = {}, [self.process.pid]
        while waiting:
            pid = waiting.pop()
            listed = Path(f"/proc/{pid}/task/{pid}/children").read_text()
            waiting += map(int, listed.split())
            found[Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " ").strip()] = pid
        return {command: pid for command, pid in found.items() if "unshare" not in command}

    @property
    def worker(self) -> int:
        return next(pid for name, pid in self.processes.items() if name.startswith("python -m"))

    def get(self, path: str) -> httpx.Response:
        return httpx.get(f"{self.address}{path}", timeout=30)

    def predict(self, row: dict[str, Any]) -> httpx.Response:
        headers = {"authorization": f"Bearer {self.key}"}
        url = f"{self.address}/predict/films"
        return httpx.post(url, json=row, headers=headers, timeout=30)


@pytest.fixture
def service(image: Image, data: Path, tmp_path: Path) -> Iterator[Service]:
    """The service as the image starts it, with a key and an export."""
    key = add_key(tmp_path / "keys.json", "test", ["predict"])
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environ = {
        "RATCHET_PORT": str(port),
        "RATCHET_MODELS": "/app/data/models",
        "RATCHET_API_KEYS": (tmp_path / "keys.json").read_text(),
    }
    started = time.monotonic()
    process = subprocess.Popen(
        image.command(data, image.config["Entrypoint"], environ),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    seconds = {}
    found = Service(f"http://127.0.0.1:{port}", key, process, seconds)
    try:
        for path in ("/health/live", "/health/ready"):
            while not _answers(found, path):
                assert process.poll() is None, process.communicate()
                assert time.monotonic() < started + 180, found.get("/health").text
                time.sleep(0.1)
            seconds[path] = time.monotonic() - started
        yield found
    finally:
        process.kill()  # and with it all that is in its namespace
        process.communicate()


def _answers(service: Service, path: str) -> bool:
    try:
        return service.get(path).status_code == 200
    except httpx.TransportError:
        return False


def cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def memory(pid: int, name: str = "VmRSS") -> int:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{name}:")) * 1024


def golden_row(data: Path) -> dict[str, Any]:
    path = next(data.glob("models/bundles/films/*/golden.json"))
    row: dict[str, Any] = json.loads(path.read_text())[0]
    return row


def test_the_image_is_small_and_says_what_it_is(image):
    labels = image.config["Labels"]

    print(f"serve: {image.size / 1e6:.0f} MB, of which base {image.base_size / 1e6:.0f} MB")
    assert image.size <= 600e6
    assert labels["org.opencontainers.image.version"] == "1.2.3"
    assert image.config["User"] == str(USER)
    assert image.config["Healthcheck"]["Test"][0] == "CMD"


def test_nothing_is_left_that_builds_or_installs(image):
    names = ("gcc", "cc", "pip", "pip3", "uv", "make")
    folders = ("app/.venv/bin", "usr/bin", "usr/local/bin", "uv")
    left = [
        path
        for folder in folders
        for name in names
        if (path := image.root / folder / name).exists()
    ]

    assert left == []
    assert not list((image.root / "app/.venv").glob("lib/python*/site-packages/pip"))
    assert (
        not (image.root / "etc/pip.conf").exists() or not (image.root / "etc/pip.conf").read_text()
    )


def test_nothing_is_writable_but_data_and_tmp(image, data):
    program = ["python", "-c", WRITABLE]
    writable = run(*image.command(data, program, {})).split("\n")

    outside = [path for path in writable if path and not path.startswith(("/app/data", "/tmp"))]
    assert outside == []
    assert {"/app/data", "/tmp"} <= {*writable}


def test_without_a_key_it_does_not_start(image, data):
    done = subprocess.run(
        image.command(data, image.config["Entrypoint"], {}),
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 1
    assert "RATCHET_API_KEYS" in done.stderr


def test_it_answers_as_an_ordinary_user_and_stops_with_a_request_in_flight(service, image, data):
    row = golden_row(data)
    answer = service.predict(row["fields"])
    users = {
        int(line.split()[1])
        for pid in service.processes.values()
        for line in Path(f"/proc/{pid}/status").read_text().splitlines()
        if line.startswith("Uid:")
    }
    used, rss = cpu_seconds(service.worker), memory(service.worker)
    healthcheck = image.config["Healthcheck"]["Test"][1:]
    port = service.address.rpartition(":")[2]
    run(*image.command(data, healthcheck, {"RATCHET_PORT": port}))
    denied = httpx.post(f"{service.address}/predict/films", json=row["fields"], timeout=30)
    in_flight = begin_request(int(port), service.key, row["fields"])
    leader = next(pid for name, pid in service.processes.items() if name.startswith("dumb-init"))
    begun = time.monotonic()
    os.kill(leader, signal.SIGTERM)
    time.sleep(0.5)
    received = in_flight()
    output, _ = service.process.communicate(timeout=20)
    took = time.monotonic() - begun

    print(f"first answer after {service.seconds}, {used:.1f} CPU s; {rss / 1e6:.0f} MB")
    assert answer.status_code == 200, answer.text
    value = answer.json()["predictions"]["rating"]["value"]
    assert value == pytest.approx(row["answers"]["rating"]["prediction"], abs=1e-4)
    assert denied.status_code == 401
    assert users == {USER}
    assert rss <= 400e6
    # Of CPU: on a busy machine a second on the clock says nothing.
    assert used <= 5
    assert b"HTTP/1.1 200" in received
    assert took < 8
    assert "writer of the prediction log has died" not in output
    assert "Traceback" not in output
    [rows] = counted(data / "mlflow.db", "SELECT count(DISTINCT request) FROM ratchet_predictions")
    assert rows == 2


def begin_request(port: int, key: str, row: dict[str, Any]) -> Callable[[], bytes]:
    """Send a request but for its last byte; what is returned sends that, and gives the answer."""
    body = json.dumps(row).encode()
    head = (
        f"POST /predict/films HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {key}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    ).encode()
    connection = socket.create_connection(("127.0.0.1", port), timeout=20)
    connection.sendall(head + body[:-1])
    time.sleep(0.3)  # it has to be taken before the service stops to take requests

    def finish() -> bytes:
        with connection:
            connection.sendall(body[-1:])
            return connection.recv(100_000)

    return finish


def counted(path: Path, query: str) -> tuple[int, ...]:
    engine = sa.create_engine(f"sqlite:///{path}")
    with engine.connect() as connection:
        return tuple(connection.exec_driver_sql(query).one())
