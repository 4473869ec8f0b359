"""Training of demand: resuming, the search for columns of time, errors on later rows."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from ratchet.learning.demand.iterations import IterationSettings
from ratchet.learning.demand.panel import Rows
from ratchet.learning.demand.training import Structure, structures, train_demand

STEPS, PERIOD = 48, 12.0
SETTINGS = IterationSettings(
    iterations=200, checkpoint_every=50, retained_draws=100, stop_when=None
)


def market_rows(segments: int = 5, seed: int = 0) -> Rows:
    """One product with an elasticity of -2, a season of one wave, and no trend."""
    random = np.random.default_rng(seed)
    segment = np.repeat(np.arange(segments), STEPS)
    step = np.tile(np.arange(STEPS, dtype=float), segments)
    log_price = random.normal(scale=0.2, size=len(step))
    season = 0.5 * np.sin(2 * np.pi * step / PERIOD)
    noise = random.normal(scale=0.05, size=len(step))
    return Rows(
        segment=segment,
        product=np.zeros(len(step), dtype=np.int64),
        step=step,
        log_price=log_price,
        covariates=np.empty((len(step), 0)),
        log_quantity=4 - 2 * log_price + season + noise,
    )


def test_rows_lead_to_the_elasticity():
    result = train_demand(market_rows(), SETTINGS, period=PERIOD)

    assert result.structure == Structure()
    np.testing.assert_allclose(result.trained.mean[:, 1], -2, atol=0.15)


def test_errors_are_those_on_later_rows_of_known_segments():
    rows = market_rows()
    early = rows.where(rows.step < 36)
    later = rows.where(rows.step >= 36)
    moved = replace(later, log_quantity=later.log_quantity + 5.0)
    unknown = replace(moved, segment=moved.segment + 100)

    own = train_demand(early, SETTINGS, period=PERIOD).trained.history[-1].error
    ahead = train_demand(early, SETTINGS, period=PERIOD, later=moved).trained.history[-1].error
    nobody = train_demand(early, SETTINGS, period=PERIOD, later=unknown).trained.history[-1].error

    assert own == pytest.approx(0.04, abs=0.03)
    assert ahead == pytest.approx(5.0, abs=0.6)
    assert np.isnan(nobody)


def test_searches_find_the_season_that_is_there():
    settings = replace(SETTINGS, search_every=50)

    result = train_demand(market_rows(), settings, period=PERIOD)

    assert result.structure.harmonics >= 1
    assert result.trained.start > 0
    assert result.trained.mean.shape[1] == result.fit.design_of(market_rows()).shape[1]
    np.testing.assert_allclose(result.trained.mean[:, 1], -2, atol=0.15)


def test_every_structure_is_tried_once_and_none_without_a_season_has_waves():
    assert structures(PERIOD)[0] == Structure()
    assert len({*structures(PERIOD)}) == len(structures(PERIOD)) == 8
    assert {structure.harmonics for structure in structures(0)} == {0}


def test_an_interrupted_search_goes_on_with_the_same_bits(tmp_path):
    settings = replace(SETTINGS, search_every=50)
    whole = train_demand(market_rows(), settings, period=PERIOD)

    class KilledError(Exception):
        pass

    def kill(progress):
        if progress.iteration >= 150:
            raise KilledError

    with pytest.raises(KilledError):
        train_demand(market_rows(), settings, period=PERIOD, checkpoint=tmp_path, on_progress=kill)
    resumed = train_demand(market_rows(), settings, period=PERIOD, checkpoint=tmp_path)

    assert resumed.structure == whole.structure
    assert resumed.trained.history == whole.trained.history
    np.testing.assert_array_equal(resumed.trained.draws, whole.trained.draws)


def test_fewer_iterations_than_a_searched_checkpoint_start_from_the_first_structure(tmp_path):
    settings = replace(SETTINGS, search_every=50)
    train_demand(market_rows(), settings, period=PERIOD, checkpoint=tmp_path)
    fewer = replace(settings, iterations=50)

    again = train_demand(market_rows(), fewer, period=PERIOD, checkpoint=tmp_path)

    assert again.structure == Structure()
    assert again.trained.mean.shape[1] == again.fit.design_of(market_rows()).shape[1]
