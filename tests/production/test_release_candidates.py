"""What is bundled, and what is said of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest

from ratchet.config import Target
from ratchet.modelling.choice import best_naive
from ratchet.production.release_candidates import release_candidates

CANDIDATES = {
    **{name: {"estimator": "dummy"} for name in ("mean", "median")},
    **{name: {"estimator": "ridge"} for name in ("ridge", "other")},
}


@dataclass
class Contents:
    """What of a bundle's contents is chosen here."""

    models: dict[str, Any] = field(default_factory=dict)
    metrics: dict[str, Any] = field(default_factory=dict)
    importance: dict[str, Any] = field(default_factory=dict)


TARGET = Target(column="y", task="regression", baseline="mean", candidates=CANDIDATES)


def found(first: bool, **ranking: list[str]) -> list[Any]:
    """Contenders of targets whose candidates came out in an order."""
    use_case: Any = SimpleNamespace(targets=dict.fromkeys(ranking, TARGET))
    artefacts: dict[str, Any] = {}
    for target, names in ranking.items():
        artefacts |= {
            f"{target}/best_model": f"best of {target}",
            f"{target}/choice": {"best": names[0], "ranking": names},
            f"{target}/scores": {name: f"scores of {name}" for name in names},
            f"{target}/importance": f"importance of {names[0]}",
        }
        artefacts |= {f"{target}/{name}/model": f"{name} of {target}" for name in names}
    return release_candidates(use_case, Contents(), artefacts, first=first)


def test_what_was_chosen_alone_once_something_serves():
    (chosen,) = found(False, a=["ridge", "median", "mean"])

    assert chosen.candidates == {"a": "ridge"}
    assert chosen.contents.models == {"a": "best of a"}


def test_naive_models_do_not_take_the_importance_of_the_chosen_ones():
    chosen, naive = found(True, a=["ridge", "median", "mean"], b=["mean", "ridge", "median"])

    assert chosen.contents.importance == {"a": "importance of ridge", "b": "importance of mean"}
    assert naive.candidates == {"a": "median", "b": "mean"}
    assert naive.contents.models == {"a": "median of a", "b": "best of b"}
    assert naive.contents.metrics == {"a": "scores of median", "b": "scores of mean"}
    assert naive.contents.importance == {"b": "importance of mean"}


def test_naive_models_that_were_chosen_are_bundled_once():
    assert len(found(True, a=["mean", "ridge", "median"])) == 1


@pytest.mark.parametrize("ranking", [["median", "mean"], ["mean", "median"]])
def test_the_best_naive_one(ranking):
    assert best_naive(TARGET, {"ranking": ["ridge", *ranking, "other"]}) == ranking[0]
