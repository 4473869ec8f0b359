"""What groups of features are worth on the films, by one reference model.

Histogram boosting with fixed settings is fitted on train and validation and scored on test, as
the final models are, on

- the default features;
- the default features without some whose presence follows fame (studio, certificate, month);
- the default features and how complete each record is, which nobody knows before a release.

Run it after ``kedro run --pipelines understanding,preprocessing``.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as in the project's settings

import pandas as pd
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from sklearn.metrics import accuracy_score, f1_score, log_loss, r2_score

SETTINGS = {
    "learning_rate": 0.06,
    "max_iter": 120,
    "max_leaf_nodes": 12,
    "min_samples_leaf": 30,
    "l2_regularization": 5,
    "max_features": 0.3,
    "random_state": 20261,
}
LISTS = ("genres", "countries", "languages", "director", "writer", "cast", "studio")


def completeness(primary: pd.DataFrame) -> pd.DataFrame:
    """How much a record lists and lacks: numbers of people, missing fields, date precision."""
    listed = {f"n_{name}": primary[name].str.len().fillna(0) for name in LISTS}
    lacking = {f"no_{name}": primary[name].isna() for name in ("certificate", "month", "studio")}
    return pd.DataFrame({**listed, **lacking}).astype("float32")


def score(fit: pd.DataFrame, test: pd.DataFrame, columns: list[str]) -> dict[str, float]:
    """Scores of the reference on the test rows."""
    known = fit.dropna(subset="target_success")
    classifier = HistGradientBoostingClassifier(**SETTINGS)
    classifier.fit(known[columns], known["target_success"])
    regressor = HistGradientBoostingRegressor(**SETTINGS).fit(fit[columns], fit["target_rating"])
    truth, probabilities = test["target_success"], classifier.predict_proba(test[columns])
    predicted = classifier.classes_[probabilities.argmax(axis=1)]
    return {
        "accuracy": accuracy_score(truth, predicted),
        "macro F1": f1_score(truth, predicted, average="macro"),
        "log loss": log_loss(truth, probabilities, labels=list(classifier.classes_)),
        "R2": r2_score(test["target_rating"], regressor.predict(test[columns])),
    }


def main() -> None:
    """Print a row of scores per set of features."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, default=Path("data"), help="the data folder")
    data = parser.parse_args().data
    folder = data / "05_model_input" / "films"
    parts = {p: pd.read_parquet(folder / f"{p}.parquet") for p in ("train", "validation", "test")}
    primary = pd.read_parquet(data / "03_primary" / "films" / "primary.parquet").set_index("film")
    extra = completeness(primary)
    fit = pd.concat([parts["train"], parts["validation"]]).join(extra)
    test = parts["test"].join(extra)

    default = [name for name in parts["train"] if not name.startswith("target_")]
    studio = [name for name in default if name.startswith("history_studio")]
    certificate = [name for name in default if name.startswith("certificate")]
    sets = {
        "default": default,
        "without studio": [name for name in default if name not in studio],
        "without certificate": [name for name in default if name not in certificate],
        "without both": [name for name in default if name not in (*studio, *certificate)],
        "without month": [name for name in default if not name.startswith("month")],
        "with completeness": [*default, *extra],
    }
    rows = {name: score(fit, test, columns) for name, columns in sets.items()}
    rows["default, fitted on train only"] = score(parts["train"], test, default)
    print(pd.DataFrame(rows).T.round(3).to_string())


if __name__ == "__main__":
    main()
