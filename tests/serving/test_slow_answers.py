"""The slow path answers as compiled models do, and refuses in the same words."""

from __future__ import annotations

import asyncio
import sys
from dataclasses import replace
from typing import Any

import pytest

from ratchet.bundle.reader import Bundle
from ratchet.bundle.writer import write_bundle
from ratchet.compiled.answers import RequestError
from ratchet.compiled.bundle_compiler import as_row, check_answer, compile_bundle
from ratchet.config import UseCase
from ratchet.serving.bundle_worker import BundleAnswerer, SlowAnswerer
from ratchet.serving.version_loader import LoadRequest
from ratchet.serving.version_transfer import VersionSource
from tests.bundle.test_reader import FILMS, RUN, SHOPS, classical, films, made, shops

STEADY = {
    **SHOPS,
    "data": {**SHOPS["data"], "derive": {}},
    "features": {**SHOPS["features"], "numeric": ["warm"]},
}


@pytest.fixture(scope="module", params=["films", "shops"])
def bundle(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    parameters, raw = {"films": (FILMS, films()), "shops": (STEADY, shops())}[request.param]
    use_case = UseCase.model_validate(parameters)
    contents = made(
        request.param, raw, use_case, classical("ridge" if use_case.data.series else None)
    )
    folder = tmp_path_factory.mktemp("bundles") / "b1"
    return write_bundle(folder, contents, {"use_case": request.param, **RUN})


def test_both_paths_say_the_same(bundle):
    slow, quick = BundleAnswerer(bundle), compile_bundle(bundle)
    for case in bundle.golden:
        (one,), (other,) = (answerer.answer([case["fields"]]) for answerer in (slow, quick))
        told = {name: as_row(prediction) for name, prediction in other.predictions.items()}

        check_answer(one, case["key"], told, 1e-6)
        assert replace(one, predictions={}, scale=None, rms=None) == replace(
            other, predictions={}, scale=None, rms=None
        )
        assert (one.scale, one.rms) == pytest.approx((other.scale, other.rms))


@pytest.mark.parametrize(
    "change", [{"new": 1}, {"film": "x", "day": "x"}, {"runtime": [1], "warm": "hot"}], ids=str
)
def test_both_paths_refuse_in_the_same_words(bundle, change):
    fields: dict[str, Any] = dict(bundle.golden[0]["fields"])
    fields |= {name: v for name, v in change.items() if name in fields or name == "new"}
    said = []
    for answerer in (BundleAnswerer(bundle), compile_bundle(bundle)):
        with pytest.raises(RequestError) as refused:
            answerer.answer([fields])
        said.append((str(refused.value), refused.value.field, refused.value.row))

    assert said[0] == said[1]


def test_all_wrong_fields_are_told_through_the_process(tmp_path):
    program = tmp_path / "program.py"
    program.write_text(
        "from ratchet.compiled.contract import Contract\n"
        "from ratchet.compiled.field_values import Field\n"
        "from ratchet.serving import bundle_worker\n"
        "class Refuses:\n"
        "    contract = Contract({'a': Field('number'), 'b': Field('integer')}, ['a'])\n"
        "    def answer(self, rows): self.contract.read_rows(rows)\n"
        "bundle_worker.main(lambda request: Refuses())\n"
    )
    slow = SlowAnswerer(
        LoadRequest(VersionSource("", "", ""), [("films", "1", None)]),
        [sys.executable, str(program)],
    )

    async def ask() -> RequestError:
        with pytest.raises(RequestError) as refused:
            await slow.answer([{"a": 1, "b": 2}, {"a": "x", "b": 0.5}])
        await slow.stop()
        return refused.value

    error = asyncio.run(ask())

    assert [(one.field, one.row) for one in (error, *error.others)] == [("a", 1), ("b", 1)]
