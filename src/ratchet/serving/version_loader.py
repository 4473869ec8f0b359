"""Child process that opens, verifies and compiles bundles for the service.

The libraries that a bundle takes are imported once; each version is opened in a fork of its own,
within limits, and handed over when it is complete. One that ends its process takes no other with
it. The request is the first line of standard input, see ``LoadRequest``.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from ratchet.learning.processes import ProcessLimits, end_with_parent
from ratchet.serving.child_processes import end_at_once, give_way, own_output
from ratchet.serving.version_transfer import (
    Description,
    VersionSource,
    create_file,
    is_complete,
    send_version,
    write_version,
)

LONGEST = 1_000
"""Characters of a reason; libraries add traces to theirs."""

Opened = tuple[Description, bytes]


@dataclass(frozen=True)
class LoadRequest:
    """Versions that are to be opened.

    Attributes:
        source: where versions come from.
        versions: use case, number, and digest as the ledger recorded it of each version.
        parallel: how many are opened at a time.
        limits: what each may take.
    """

    source: VersionSource
    versions: Sequence[tuple[str, str, str | None]]
    parallel: int = 1
    limits: ProcessLimits = field(default=ProcessLimits())

    def as_line(self) -> bytes:
        """The request as a line."""
        return json.dumps(asdict(self)).encode() + b"\n"

    @classmethod
    def of_line(cls, line: str) -> LoadRequest:
        """The request of a line."""
        content = json.loads(line)
        return cls(
            VersionSource(**content["source"]),
            [(name, version, digest) for name, version, digest in content["versions"]],
            content["parallel"],
            ProcessLimits(**content["limits"]),
        )


def open_version(source: VersionSource, use_case: str, version: str, digest: str | None) -> Opened:
    """Open a version as it was judged, compile it, and let it answer its golden rows.

    Raises:
        UserError: it is not there, damaged, or answers otherwise than it must.
    """
    from ratchet.bundle.manifest import BundleError
    from ratchet.compiled.serialization import NotCompilable

    bundle = open_judged_bundle(source, use_case, version, digest)
    bundle.check_contents()
    bundle.check_trees()
    about: dict[str, Any] = {
        "digest": bundle.digest,
        "manifest": bundle.manifest,
        "parameters": bundle.use_case.model_dump(mode="json"),
        "golden": [case["fields"] for case in bundle.golden if "before" not in case],
    }
    if not bundle.golden:
        raise BundleError(f"{bundle.folder} has no golden rows: nothing can be tried")
    try:
        if not source.compiled:
            raise NotCompilable("the settings say that nothing is compiled")
        return Description("compiled", **about), compiled_form(bundle)
    except NotCompilable as error:
        bundle.check_golden()  # the smoke test, by what is to answer
        return Description("slow", shortened(str(error)), **about), prices_of(bundle)


def compiled_form(bundle: Any) -> bytes:
    """Compile a bundle, let it answer its golden rows, and give its bytes.

    Raises:
        NotCompilable: it has no compiled form, answers otherwise, or compiling has failed.
    """
    from ratchet.compiled.bundle_compiler import compile_verified
    from ratchet.compiled.serialization import NotCompilable, dumps

    try:
        return dumps(compile_verified(bundle, bundle.golden))
    except ValueError as error:
        raise NotCompilable(f"its compiled form cannot be written: {error}") from error


def prices_of(bundle: Any) -> bytes:
    """What prices the segments of a market, as bytes; none where there is no market."""
    from ratchet.compiled.prices import CompiledBook
    from ratchet.compiled.serialization import dumps

    return b"" if bundle.demand_book is None else dumps(CompiledBook.of(bundle.demand_book))


def open_judged_bundle(
    source: VersionSource, use_case: str, version: str, digest: str | None
) -> Any:
    """Open the bundle of a version that is what was judged.

    Its folder is looked up in MLflow, or found by its digest, which saves seconds of imports.

    Args:
        source: where versions come from.
        use_case: of which.
        version: its number.
        digest: what the ledger recorded, where it did.

    Raises:
        UserError: it is missing, damaged, or not what was judged.
    """
    from ratchet.bundle.manifest import BundleError
    from ratchet.bundle.reader import open_bundle

    folder = _folder_with(Path(source.bundles) / use_case, digest) if digest else None
    if folder is not None:
        bundle = open_bundle(folder)
        if bundle.digest == digest:  # and was not exchanged a moment ago
            return bundle
    if find_spec("mlflow") is None:  # as in the image of the service
        raise BundleError(_not_found(source, use_case, version, digest))
    from ratchet.registry.registry import Registry

    # It says best what is wrong, and knows versions without a digest.
    registry = Registry(source.tracking_uri, Path(source.bundles), source.database_url)
    bundle = open_bundle(registry.folder(use_case, version))
    registry.check_digest(use_case, version, bundle.digest)
    return bundle


def _not_found(source: VersionSource, use_case: str, version: str, digest: str | None) -> str:
    if digest is None:
        return (
            f"the ledger has no digest of version {version} of {use_case}, and there is no MLflow "
            f"here that could say which bundle it is: promote a version that a present release made"
        )
    return (
        f"{Path(source.bundles) / use_case} has no bundle with the digest {digest[:12]}... of "
        f"version {version}: mount the folder of the bundles there, or export the models again"
    )


def _folder_with(bundles: Path, digest: str) -> Path | None:
    from ratchet.bundle.manifest import BundleError, bundle_digest

    for folder in sorted(bundles.iterdir(), reverse=True) if bundles.is_dir() else []:
        try:
            if not folder.is_symlink() and bundle_digest(folder) == digest:
                return folder
        except BundleError:  # no bundle
            continue
    return None


def size_of(source: VersionSource, use_case: str, version: str, digest: str | None) -> float:
    """Bytes of a bundle; infinite where it takes MLflow to find it."""
    folder = _folder_with(Path(source.bundles) / use_case, digest) if digest else None
    if folder is None:
        return float("inf")
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def import_libraries() -> None:
    """Import what every bundle takes, once for all forks."""
    import skops.io  # noqa: F401

    import ratchet.bundle.reader
    import ratchet.compiled.bundle_compiler
    import ratchet.compiled.estimators
    import ratchet.learning.trusted  # noqa: F401


class Forks:
    """Opens versions in forks of this process, and hands over what they give.

    Args:
        request: which.
        open_one: opens one.
        output: what they are handed over by.
    """

    def __init__(
        self, request: LoadRequest, open_one: Callable[..., Opened], output: socket.socket
    ) -> None:
        self._request = request
        self._open = open_one
        self._output = output
        self._running: dict[int, tuple[int, int]] = {}

    def run(self) -> None:
        """Open all of them, the smallest first: it answers while others are still read."""
        source, versions = self._request.source, enumerate(self._request.versions)
        waiting = sorted(versions, key=lambda each: size_of(source, *each[1]))
        while waiting or self._running:
            while waiting and len(self._running) < self._request.parallel:
                self._fork(*waiting.pop(0))
            self._take_one()

    def _fork(self, number: int, version: tuple[str, str, str | None]) -> None:
        file = create_file("-".join(version[:2]))
        if pid := os.fork():
            self._running[pid] = (number, file)
            return
        try:
            end_with_parent(os.getppid(), end_at_once)
            self._request.limits.apply()
            sys.stdin.close()
            write_version(file, *opened(self._open, self._request.source, *version))
        except BaseException:
            traceback.print_exc()
            os._exit(1)
        os._exit(0)  # without the ends of threads and libraries, which may hang or fail

    def _take_one(self) -> None:
        pid, status = os.wait()
        number, file = self._running.pop(pid)
        if not is_complete(file):
            os.ftruncate(file, 0)
            write_version(file, Description("refused", self._death(status)), b"")
        send_version(self._output, number, file)
        os.close(file)

    def _death(self, status: int) -> str:
        code = os.waitstatus_to_exitcode(status)
        if -code == signal.SIGXCPU:
            return f"it took more than {self._request.limits.cpu_seconds} s of CPU to open"
        how = f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
        return f"the process that opened it has died ({how}): numbers in it are damaged"


def opened(open_one: Callable[..., Opened], *version: Any) -> Opened:
    """Open a version; whatever is wrong with it is a refusal."""
    try:
        return open_one(*version)
    except MemoryError as error:
        reason = f"it takes more memory than it may: {error}"
    except Exception as error:  # whatever files raise that may be damaged
        from ratchet.errors import UserError

        is_ours = isinstance(error, UserError)
        reason = str(error) if is_ours else f"{type(error).__name__}: {error}"
        for cause in _causes(error):
            if isinstance(cause, ModuleNotFoundError):
                reason = (
                    f"opening it takes the package {cause.name}, which is not installed here: "
                    f"serve it where all of requirements/run.txt is, such as the image "
                    f"ratchet-train{_why_not_compiled(error)}"
                )
    return Description("refused", shortened(reason)), b""


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """An error, and what it was raised from or after."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _why_not_compiled(error: Exception) -> str:
    """What a version lacks that would answer without these packages if it were compiled."""
    from ratchet.compiled.serialization import NotCompilable

    reasons = [str(cause) for cause in _causes(error) if isinstance(cause, NotCompilable)]
    return f". It has no compiled form: {reasons[0]}" if reasons else ""


def shortened(reason: str) -> str:
    """A reason as one line of bounded length."""
    return " ".join(reason.split())[:LONGEST]


def main(open_one: Callable[..., Opened] = open_version, niceness: str = "0") -> None:
    """Serve one request, after importing what it takes."""
    end_with_parent(os.getppid(), end_at_once)
    if int(niceness):
        give_way(int(niceness))
    output = socket.socket(fileno=own_output())
    if open_one is open_version:
        import_libraries()
    if line := sys.stdin.readline():
        with suppress(ConnectionError):  # the service is gone
            Forks(LoadRequest.of_line(line), open_one, output).run()


if __name__ == "__main__":
    main(open_version, *sys.argv[1:])
    sys.stdout.flush()
    os._exit(0)
