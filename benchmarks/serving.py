"""What an answer costs: compiled and as a bundle gives it, in process and over HTTP.

    python benchmarks/serving.py data/06_models/bundles/films/<name> .../power/<name>

For each bundle: CPU and wall time of one row from raw fields, compiled beside ``Bundle.answer`` in
alternation; rows per second one by one and in a batch; and over one kept-alive connection at a
steady rate the time to the answer, with the server's CPU. One server holds all of them: its memory,
and its time until it is ready. Rows are the golden ones of the bundle, without those of later steps
of paths.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import resource
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

BATCH = 10_000
BARS = {"process_p99_ms": 5, "http_p99_ms": 20, "rss_mb": 200, "ready_s": 3}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("bundles", nargs="*", type=Path, help="folders of bundles")
    parser.add_argument("--rows", type=int, default=1000, help="answers that are timed in process")
    parser.add_argument("--slow-rows", type=int, default=20, help="the same by the bundle itself")
    parser.add_argument("--rate", type=float, default=50, help="requests per second over HTTP")
    parser.add_argument("--seconds", type=float, default=20, help="how long requests are sent")
    parser.add_argument("--json", type=Path, help="file for all figures")
    asked = parser.parse_args()
    if not asked.bundles:
        print("no bundles are named: python benchmarks/serving.py BUNDLE ...; nothing measured")
        return
    with tempfile.TemporaryDirectory() as folder:
        names = [child("compile", bundle, folder)["name"] for bundle in asked.bundles]
        found: dict[str, Any] = {"load": os.getloadavg()[0], "use_cases": {}}
        for name, bundle in zip(names, asked.bundles, strict=True):
            compiled = child("answer", folder, name, str(asked.rows))
            slow = child("slow", bundle, str(asked.slow_rows))
            found["use_cases"][name] = {"compiled": compiled, "bundle": slow}
            if (bundle / "demand_book.npz").is_file():
                prices = child("prices", folder, name, str(asked.rows))
                found["use_cases"][name]["prices"] = prices
        found["http"] = over_http(Path(folder), names, asked.rate, asked.seconds)
    show(found)
    if asked.json:
        asked.json.write_text(json.dumps(found, indent=2))


def child(part: str, *arguments: object) -> dict[str, Any]:
    """Measure a part in a process of its own, with one thread."""
    command = [sys.executable, __file__, f"--part={part}", *map(str, arguments)]
    threads = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    done = subprocess.run(
        command, env=os.environ | threads, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise SystemExit(f"{part} failed:\n{done.stderr[-3000:]}")
    measured: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return measured


# --------------------------------------------------------------------------- parts of their own


def compile_one(bundle: str, folder: str) -> dict[str, Any]:
    """Compile a bundle into a folder, for processes that have no pandas."""
    from ratchet.bundle.reader import open_bundle
    from ratchet.compiled.bundle_compiler import check_golden, compile_bundle
    from ratchet.compiled.serialization import dumps

    opened = open_bundle(bundle)
    started = time.process_time()
    answerer = compile_bundle(opened)
    check_golden(answerer, opened.golden)
    name = opened.manifest["use_case"]
    content = dumps(answerer)
    (Path(folder) / f"{name}.bin").write_bytes(content)
    told = {
        "manifest": opened.manifest,
        "digest": opened.digest,
        "parameters": opened.use_case.model_dump(mode="json"),
        "golden": single_rows(opened),
        "compile_cpu_s": time.process_time() - started,
        "bytes": len(content),
    }
    (Path(folder) / f"{name}.json").write_text(json.dumps(told))
    return {"name": name}


def single_rows(bundle: Any) -> list[dict[str, Any]]:
    """Fields of golden rows that are answered alone: later steps of paths need those before."""
    return [case["fields"] for case in bundle.golden if "before" not in case]


def load(folder: str, name: str) -> tuple[Any, dict[str, Any]]:
    """The answerer that was compiled, and what is known of its bundle."""
    from ratchet.compiled.serialization import loads

    told: dict[str, Any] = json.loads((Path(folder) / f"{name}.json").read_text())
    return loads((Path(folder) / f"{name}.bin").read_bytes()), told


def answer_compiled(folder: str, name: str, rows: str) -> dict[str, Any]:
    """Time answers of one row, and rows per second."""
    empty = memory()
    answerer, told = load(folder, name)
    golden = told["golden"]
    cpu, wall = timed(lambda row: answerer.answer([row]), golden, int(rows))
    measured = percentiles(cpu, wall)
    data = told["parameters"]["data"]
    if data["series"] is None:  # of series there are a few steps that can be asked for
        named = [*data["key_columns"], data["key"]]  # of a joined key the first column will do
        batch = distinct(golden, BATCH, named[0])
        started = time.process_time()
        answerer.answer(batch)
        spent = time.process_time() - started
        measured["rows_per_cpu_s"] = BATCH / spent
        measured["times_one_by_one"] = statistics.fmean(cpu) / 1e3 * BATCH / spent
    return {
        **measured,
        "memory_mb": memory() - empty,
        "compile_cpu_s": told["compile_cpu_s"],
        "bytes": told["bytes"],
    }


def answer_slowly(bundle: str, rows: str) -> dict[str, Any]:
    """The same by the bundle, through pandas."""
    import pandas as pd

    from ratchet.bundle.reader import open_bundle

    opened = open_bundle(bundle)
    golden = single_rows(opened)
    cpu, wall = timed(lambda row: opened.answer(pd.DataFrame([row])), golden, int(rows))
    return {**percentiles(cpu, wall), "memory_mb": memory()}


def quote_prices(folder: str, name: str, quotes: str) -> dict[str, Any]:
    """Time recommended prices of the segments of a market, in turn, each for another cost."""
    answerer, _ = load(folder, name)
    empty = memory()
    book = answerer.prices.book
    keys = book.keys[:: max(1, len(book.keys) // 100)]
    asked = [(key, factor) for factor in (0.9, 1.0, 1.1) for key in keys]

    def quote(what: Any) -> None:
        key, factor = what
        cost = float(book.history.median[book.position(key.merchant, key.product)]) * 0.6 * factor
        book.quote(key.merchant, key.product, unit_cost=cost)

    cpu, wall = timed(quote, asked, int(quotes))
    return {**percentiles(cpu, wall), "memory_mb": memory() - empty}


def serve(folder: str, port: str, *names: str) -> None:
    """Serve what was compiled, until the process is ended."""
    from ratchet.config import CHECKED, UseCase
    from ratchet.serving.app import create_app
    from ratchet.serving.processes import listen, run
    from ratchet.serving.protocols import Fixed, Serving
    from ratchet.serving.settings import Settings

    found = []
    for name in names:
        answerer, told = load(folder, name)
        answerer.answer(told["golden"][:1])
        inputs = told["manifest"]["signature"]["inputs"]
        found.append(
            Serving(
                use_case=UseCase.model_validate(told["parameters"], context=CHECKED),
                name=name,
                version="1",
                digest=told["digest"],
                since=datetime.now(UTC),
                answerer=answerer,
                inputs={column: each["nullable"] for column, each in inputs.items()},
                examples=told["golden"],
            )
        )
    settings = Settings(port=int(port), keys_file=Path(folder) / "keys.json", state=Path(folder))
    run(settings, create_app(settings, Fixed(found)), listen(settings))


def timed(answer: Any, rows: Sequence[Any], count: int) -> tuple[list[float], list[float]]:
    """CPU and wall time of answers, in milliseconds, once all is warm."""
    for row in rows:
        answer(row)
    cpu, wall = [], []
    for number in range(count):
        row = rows[number % len(rows)]
        at, used = time.perf_counter(), time.process_time()
        answer(row)
        cpu.append((time.process_time() - used) * 1e3)
        wall.append((time.perf_counter() - at) * 1e3)
    return cpu, wall


def distinct(golden: Sequence[dict[str, Any]], count: int, key: str) -> list[Any]:
    """As many rows as asked for, no two of one key."""
    rows = [dict(golden[number % len(golden)]) for number in range(count)]
    for number, row in enumerate(rows):
        row[key] = number if isinstance(row[key], int) else f"r{number}"
    return rows


def percentiles(cpu: Sequence[float], wall: Sequence[float]) -> dict[str, float]:
    return {
        "cpu_p50_ms": statistics.median(cpu),
        "cpu_p99_ms": percentile(cpu, 0.99),
        "wall_p50_ms": statistics.median(wall),
        "wall_p99_ms": percentile(wall, 0.99),
    }


def percentile(values: Sequence[float], share: float) -> float:
    ordered = sorted(values)
    return ordered[min(int(share * len(ordered)), len(ordered) - 1)]


def memory() -> float:
    """Largest memory of this process so far, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


# ----------------------------------------------------------------------------------- over HTTP


def over_http(folder: Path, names: Sequence[str], rate: float, seconds: float) -> dict[str, Any]:
    """Start a server that holds all versions, and ask each at a steady rate."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, __file__, "--part=serve", str(folder), str(port), *names]
    threads = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    started = time.perf_counter()
    server = subprocess.Popen(command, env=os.environ | threads, stdout=subprocess.PIPE, text=True)
    try:
        assert server.stdout is not None
        if "serves at" not in server.stdout.readline():
            raise SystemExit("the server did not start")
        found: dict[str, Any] = {"ready_s": time.perf_counter() - started, "use_cases": {}}
        for name in names:
            golden = json.loads((folder / f"{name}.json").read_text())["golden"]
            before = cpu_of(server.pid)
            waits = asyncio.run(ask(port, name, golden, rate, seconds))
            spent = cpu_of(server.pid) - before
            found["use_cases"][name] = {
                "p50_ms": statistics.median(waits),
                "p99_ms": percentile(waits, 0.99),
                "max_ms": max(waits),
                "server_cpu_ms": spent / len(waits) * 1e3,
                "requests": len(waits),
            }
        found["rss_mb"] = rss_of(server.pid)
        return found
    finally:
        server.terminate()
        server.wait(10)


async def ask(
    port: int, name: str, rows: Sequence[Any], rate: float, seconds: float
) -> list[float]:
    """Milliseconds from when each request was due until its answer was there."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    requests = [request(name, row) for row in rows]
    for each in requests:
        await exchange(reader, writer, each)
    begin, waits = time.perf_counter(), []
    for number in range(int(rate * seconds)):
        due = begin + number / rate
        if (pause := due - time.perf_counter()) > 0:
            await asyncio.sleep(pause)
        sent = time.perf_counter()
        await exchange(reader, writer, requests[number % len(requests)])
        # A request that had to wait for the one before it is late by that, not by our sleeping.
        waits.append((time.perf_counter() - (sent if pause > 0 else due)) * 1e3)
    writer.close()
    return waits


def request(name: str, row: Any) -> bytes:
    body = json.dumps(row).encode()
    head = (
        f"POST /predict/{name} HTTP/1.1\r\nHost: 127.0.0.1\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


async def exchange(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, content: bytes
) -> None:
    writer.write(content)
    head = await reader.readuntil(b"\r\n\r\n")
    fields = dict(line.split(b": ", 1) for line in head.lower().split(b"\r\n")[1:-2])
    body = await reader.readexactly(int(fields[b"content-length"]))
    if b" 200 " not in head.split(b"\r\n", 1)[0]:
        raise SystemExit(f"no answer: {body.decode()[:500]}")


def cpu_of(process: int) -> float:
    """CPU seconds of a process."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def rss_of(process: int) -> float:
    """Memory of a process, in MB."""
    pages = int(Path(f"/proc/{process}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def show(found: dict[str, Any]) -> None:
    print(f"load {found['load']:.1f}; bars: {BARS}")
    for name, each in found["use_cases"].items():
        compiled, slow, http = each["compiled"], each["bundle"], found["http"]["use_cases"][name]
        print(
            f"{name}: in process CPU p50 {compiled['cpu_p50_ms']:.2f} p99 "
            f"{compiled['cpu_p99_ms']:.2f} ms, wall p99 {compiled['wall_p99_ms']:.2f}; bundle CPU "
            f"p50 {slow['cpu_p50_ms']:.0f} ms ({slow['cpu_p50_ms'] / compiled['cpu_p50_ms']:.0f} "
            f"times as much)"
        )
        if "rows_per_cpu_s" in compiled:
            print(
                f"{name}: batch of {BATCH:,}: {compiled['rows_per_cpu_s']:.0f} rows per CPU s, "
                f"{compiled['times_one_by_one']:.1f} times one by one"
            )
        if "prices" in each:
            prices = each["prices"]
            print(
                f"{name}: recommended prices in process CPU p50 {prices['cpu_p50_ms']:.2f} p99 "
                f"{prices['cpu_p99_ms']:.2f} ms, wall p99 {prices['wall_p99_ms']:.2f}"
            )
        print(
            f"{name}: HTTP p50 {http['p50_ms']:.2f} p99 {http['p99_ms']:.2f} max "
            f"{http['max_ms']:.1f} ms, server CPU {http['server_cpu_ms']:.2f} ms"
        )
    http = found["http"]
    print(f"server: ready after {http['ready_s']:.1f} s, {http['rss_mb']:.0f} MB")


PARTS = {
    "compile": compile_one,
    "answer": answer_compiled,
    "slow": answer_slowly,
    "prices": quote_prices,
    "serve": serve,
}

if __name__ == "__main__":
    first = sys.argv[1] if len(sys.argv) > 1 else ""
    if first.startswith("--part="):
        print(json.dumps(PARTS[first.removeprefix("--part=")](*sys.argv[2:])))
    else:
        main()
