"""Real bundles: what was judged serves, by a real child process, and nothing else does."""

import asyncio
import os
import shutil
import subprocess
import sys
from dataclasses import replace

import pytest

from ratchet.bundle.manifest import bundle_digest
from ratchet.bundle.writer import write_bundle
from ratchet.compiled.bundle_compiler import check_answer, check_golden
from ratchet.compiled.serialization import NotCompilable, loads
from ratchet.config import UseCase
from ratchet.database import connect
from ratchet.errors import UserError
from ratchet.registry.ledger import Ledger
from ratchet.registry.model_versions import DIGEST_TAG
from ratchet.serving import version_loader
from ratchet.serving.bundle_worker import SlowAnswerer
from ratchet.serving.version_loader import LoadRequest
from ratchet.serving.version_opener import VersionOpener
from ratchet.serving.version_transfer import VersionSource
from ratchet.serving.version_watcher import Watcher
from tests.bundle.test_reader import FILMS, RUN, classical, films, made


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    contents = made("films", films(), UseCase.model_validate(FILMS), classical())
    return write_bundle(tmp_path_factory.mktemp("made") / "one", contents, {"use_case": "f", **RUN})


class Project:
    """A bundle that the ledger says serves."""

    def __init__(self, folder, bundle):
        self.bundle = folder / "bundles" / "films" / "one"
        shutil.copytree(bundle.folder, self.bundle)
        url = f"sqlite:///{folder / 'ledger.db'}"
        self.source = VersionSource(url, str(folder / "bundles"), url)
        self.ledger, self.digest, self.notices = Ledger(connect(url)), bundle.digest, []
        self.ledger.append(
            *("films", "promote"),
            **{"version": "1", "champion": "1", "previous": None, "actor": "a", "reason": "r"},
            details={DIGEST_TAG: bundle.digest},
            expect=0,
        )

    async def watch(self, source, then):
        opener = VersionOpener(self.ledger, source, loads)
        watcher = Watcher(self.ledger, opener, poll_seconds=0.1, notify=self.notices.append)
        await watcher.start()
        try:
            async with asyncio.timeout(120):
                while not watcher.champion("films") and not self.notices:
                    await asyncio.sleep(0.02)
            return await then(watcher.champion("films"))
        finally:
            await watcher.stop()


@pytest.fixture
def project(tmp_path, written):
    return Project(tmp_path, written)


def test_what_was_judged_serves_by_arrays(project, written):
    async def then(serving):
        check_golden(serving.answerer, written.golden)
        assert serving.degraded is None
        assert serving.digest == written.digest
        assert serving.use_case == written.use_case
        assert {*serving.inputs} == {*written.manifest["signature"]["inputs"]}

    asyncio.run(project.watch(project.source, then))


def test_what_is_not_compiled_answers_by_its_bundle(project, written):
    source = replace(project.source, compiled=False)
    request = LoadRequest(source, [("films", "1", project.digest)])

    description, content = version_loader.open_version(source, "films", "1", project.digest)

    assert (description.status, content) == ("slow", b"")
    assert "nothing is compiled" in description.reason

    async def ask():
        slow = SlowAnswerer(request)
        try:
            return [(await slow.answer([case["fields"]]))[0] for case in written.golden[:2]]
        finally:
            await slow.stop()

    for case, answer in zip(written.golden[:2], asyncio.run(ask()), strict=True):
        check_answer(answer, case["key"], case["answers"])


def test_where_compiling_fails_for_any_reason_the_bundle_answers(project, monkeypatch):
    monkeypatch.setattr("ratchet.compiled.bundle_compiler.compile_bundle", lambda _: 1 / 0)

    description, content = version_loader.open_version(project.source, "films", "1", project.digest)

    assert (description.status, content) == ("slow", b"")
    assert description.reason == "compiling has failed: ZeroDivisionError: division by zero"


def test_where_the_compiled_form_cannot_be_written_the_bundle_answers(project, monkeypatch):
    monkeypatch.setattr("ratchet.compiled.bundle_compiler.compile_bundle", lambda _: object())
    monkeypatch.setattr("ratchet.compiled.bundle_compiler.check_golden", lambda *_: None)

    description, _ = version_loader.open_version(project.source, "films", "1", project.digest)

    assert description.status == "slow"
    assert description.reason.startswith("its compiled form cannot be written: object is neither")


def test_a_bundle_whose_file_was_changed_never_serves(project):
    [model, *_] = sorted((project.bundle / "models").iterdir())
    content = bytearray(model.read_bytes())
    content[len(content) // 2] ^= 1
    model.write_bytes(content)

    request = (project.source, "films", "1", project.digest)
    description, content = version_loader.opened(version_loader.open_version, *request)

    assert (description.status, content) == ("refused", b"")
    assert model.name in description.reason


def test_the_smallest_of_several_versions_is_opened_first(project, tmp_path):
    larger = tmp_path / "bundles" / "films" / "larger"
    shutil.copytree(project.bundle, larger)
    (larger / "manifest.json").write_bytes((larger / "manifest.json").read_bytes() + b" ")
    digests = {"missing": None, "1": project.digest, "larger": bundle_digest(larger)}

    sizes = {
        v: version_loader.size_of(project.source, "films", v, digest)
        for v, digest in digests.items()
    }

    assert sorted(sizes, key=lambda version: sizes[version]) == ["1", "larger", "missing"]


def test_the_folder_is_found_by_what_is_in_it(project):
    shutil.copytree(project.bundle, project.bundle.with_name("another"))
    (project.bundle.with_name("another") / "manifest.json").write_text("{}")
    project.bundle.with_name("link").symlink_to(project.bundle)
    (project.bundle.parent / ".lock").touch()

    bundle = version_loader.open_judged_bundle(project.source, "films", "1", project.digest)

    assert bundle.folder == project.bundle


def test_a_reason_is_one_line_of_bounded_length(project):
    def fails(*_):
        raise UserError("it is\nbroken " + "x" * 2_000)

    told, content = version_loader.opened(fails, project.source, "films", "1", None)

    assert (told.status, content) == ("refused", b"")
    assert told.reason.startswith("it is broken x")
    assert len(told.reason) == version_loader.LONGEST


def test_what_bundles_take_is_imported_before_the_forks(written):
    code = (
        "import sys; from pathlib import Path; from ratchet.serving import version_loader\n"
        "version_loader.import_libraries(); before = set(sys.modules)\n"
        "from ratchet.bundle.reader import open_bundle\n"
        "version_loader.compiled_form(open_bundle(Path(sys.argv[1])))\n"
        "new, rooms = set(sys.modules) - before, ('ratchet.bundle', 'skops')\n"
        "print(*(name for name in new if name.startswith(rooms)))"
    )
    command = [sys.executable, "-c", code, str(written.folder)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}

    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)

    assert done.stdout.split() == []


def test_a_package_that_is_not_installed_is_named():
    def fails(*_):
        raise ModuleNotFoundError("No module named 'keras'", name="keras")

    told, _ = version_loader.opened(fails)

    assert told.status == "refused"
    assert "takes the package keras, which is not installed here" in told.reason
    assert "compiled" not in told.reason


def test_what_cannot_be_compiled_names_the_reason_and_the_package(project, monkeypatch):
    def lacks(_):
        raise NotCompilable("the layer SimpleRNN has no compiled form")

    def answer(*_):
        raise ModuleNotFoundError("No module named 'keras'", name="keras")

    monkeypatch.setattr("ratchet.compiled.bundle_compiler.compile_bundle", lacks)
    monkeypatch.setattr("ratchet.bundle.reader.tidy_answers", answer)

    request = (project.source, "films", "1", project.digest)
    told, _ = version_loader.opened(version_loader.open_version, *request)

    assert told.status == "refused"
    assert "takes the package keras, which is not installed here" in told.reason
    assert told.reason.endswith("the layer SimpleRNN has no compiled form")
