"""Temperature scaling."""

import numpy as np
import pytest
from scipy.special import log_softmax, softmax
from sklearn.metrics import log_loss

from ratchet.learning.calibration import TemperatureScaling

CLASSES = ["a", "b", "c"]


def draw(n: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """True log probabilities, and classes drawn from them."""
    rng = np.random.default_rng(seed)
    logs = log_softmax(rng.normal(size=(n, 3)) * 2, axis=1)
    truth = [rng.choice(CLASSES, p=row) for row in np.exp(logs)]
    return logs, np.array(truth)


@pytest.mark.parametrize("factor", [0.5, 1.0, 3.0])
def test_it_finds_by_how_much_a_model_is_too_sure(factor: float) -> None:
    logs, truth = draw(20_000)
    fitted = TemperatureScaling(CLASSES).fit(logs * factor, truth)
    assert fitted.temperature_ == pytest.approx(factor, rel=0.05)


def test_it_is_no_worse_than_no_calibration_and_keeps_the_order() -> None:
    logs, truth = draw(2_000)
    fitted = TemperatureScaling(CLASSES).fit(logs * 2, truth)
    before, after = softmax(logs * 2, axis=1), fitted.predict_proba(logs * 2)
    assert log_loss(truth, after, labels=CLASSES) < log_loss(truth, before, labels=CLASSES)
    assert (before.argmax(axis=1) == after.argmax(axis=1)).all()
    assert after.sum(axis=1) == pytest.approx(1)
    assert list(fitted.predict(logs)) == [CLASSES[i] for i in after.argmax(axis=1)]


def test_a_handful_of_lucky_rows_does_not_make_it_sure() -> None:
    logs = np.log(np.tile([0.5, 0.3, 0.2], (10, 1)))
    fitted = TemperatureScaling(CLASSES).fit(logs, ["a"] * 10)
    assert fitted.temperature_ > 1 / 3


def test_an_unknown_class_is_named() -> None:
    with pytest.raises(ValueError, match=r"unknown classes \['z'\]"):
        TemperatureScaling(CLASSES).fit(np.zeros((2, 3)), ["a", "z"])
