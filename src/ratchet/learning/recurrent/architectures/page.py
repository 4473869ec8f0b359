"""The list of the architectures: a page of the documentation, and JSON for the service.

``python -m ratchet.learning.recurrent.architectures.page FILE`` regenerates the page, or the JSON
where the name of the file ends so. The service ships the JSON, since counting takes Keras.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from textwrap import fill

from ratchet.learning.atomic_files import write_text
from ratchet.learning.recurrent.architectures import ARCHITECTURES, FAMILIES
from ratchet.learning.recurrent.architectures.blocks import ACTIVATIONS
from ratchet.learning.recurrent.network import count_parameters

SIZES = {"units": 64, "lookback": 7, "features": 10, "horizon": 1}

HEAD = """\
# Architectures and activations

What `architecture` and `activation` of a recurrent candidate can be. Every architecture takes
windows of any look-back and number of features and ends in dropout and one dense layer with an
output per step of the horizon. All are made of layers that Keras brings along, so a saved network
opens wherever Keras is installed.

`units` is the width of a recurrent layer; architectures with several layers say which of them are
narrower. `activation` is that of the recurrent and dense layers; gates are sigmoids unless the
description says otherwise. `dropout` works on what is read for the forecast and between the layers
of a stack; in a sequence all time steps share what is dropped.

Parameters are counted with {units} units, a look-back of {lookback}, {features} features and a
horizon of {horizon}.
"""

FOOT = """\
## Activations

{names}.

This page is made by `python -m ratchet.learning.recurrent.architectures.page`, and a test holds it
up to date.
"""


def page() -> str:
    """The page as Markdown."""
    parts = [HEAD.format(**SIZES), *map(_family, FAMILIES)]
    parts.append(FOOT.format(names=_wrapped([f"`{name}`" for name in ACTIVATIONS])))
    return "\n".join(parts)


@cache
def _parameters(name: str) -> int:
    return count_parameters(name, **SIZES)


def _family(family: str) -> str:
    rows = [
        f"| `{entry.name}` | {entry.description} | {_parameters(entry.name):,} |"
        for entry in ARCHITECTURES.values()
        if entry.family == family
    ]
    head = (f"## {family}", "", "| Name | Network | Parameters |", "|---|---|---:|")
    return "\n".join((*head, *rows, ""))


def _wrapped(names: list[str]) -> str:
    return fill(", ".join(names), width=100)


def table() -> Mapping[str, object]:
    """The same for programs: architectures by family, with the numbers they are called by."""
    numbers = {name: number for number, name in enumerate(ARCHITECTURES, start=1)}
    return {
        "total": len(ARCHITECTURES),
        "families": [
            {
                "family": family,
                "architectures": [
                    {
                        "id": numbers[entry.name],
                        "name": entry.name,
                        "description": entry.description,
                        "parameters": _parameters(entry.name),
                    }
                    for entry in ARCHITECTURES.values()
                    if entry.family == family
                ],
            }
            for family in FAMILIES
        ],
        "activations": list(ACTIVATIONS),
        "parameters_counted_with": SIZES,
    }


def table_text() -> str:
    """``table`` as it is written to the file."""
    return json.dumps(table(), indent=2, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    file = sys.argv[1]
    write_text(file, table_text() if Path(file).suffix == ".json" else page())
