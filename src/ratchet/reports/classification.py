"""A target of classes: what the report says of it, what it can be used for, and its limits."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from ratchet.learning.metrics import calibration_table
from ratchet.modelling.predictions import CONFIDENT
from ratchet.reports.blocks import Block, Finding, Table, Text
from ratchet.reports.chart import Chart
from ratchet.reports.formatting import count, counted, listed, number, share
from ratchet.reports.intervals import share_interval, shares_differ
from ratchet.reports.target_results import BORDERLINE, TargetResults

_SHOWN_ROWS = 15
_WANTED_RECALL = 0.8
_LOW_RECALL = 0.6


def headline(results: TargetResults) -> str:
    """Accuracy of the winner and of the baseline, in two sentences."""
    score, base = results.test_scores["accuracy"], results.choice["baseline"]
    return (
        f"The best candidate, {results.best}, puts {share(score['value'])} of "
        f"{counted(len(results.test), 'test row')} into the right class (95% interval "
        f"{share(score['low'])} to {share(score['high'])}). The baseline, {base['candidate']}, "
        f"reaches {share(base['test']['accuracy']['value'])}."
    )


def key_metric(_: TargetResults) -> tuple[str, str]:
    """Metric of the card, and a short explanation."""
    return "accuracy", "the share put right"


def distribution_blocks(results: TargetResults) -> list[Block]:
    """Class balance, part by part."""
    shares = pd.DataFrame(
        {
            part: results.truth(part).value_counts(normalize=True)
            for part in ("train", "validation", "test")
        }
    ).reindex(results.classes, fill_value=0)
    shares = shares.fillna(0).rename_axis("class")
    counts = results.primary[results.target.column].astype(object).value_counts()
    largest, smallest = counts.index[0], counts.index[-1]
    text = (
        f"Of {counted(int(counts.sum()), 'row')} with a known {results.name}, "
        f"{share(counts.iloc[0] / counts.sum())} are {largest} and "
        f"{share(counts.iloc[-1] / counts.sum())} are {smallest}: whoever always says {largest} is "
        f"right in {share(shares['test'][str(largest)])} of the test rows."
    )
    long = shares.reset_index().melt("class", var_name="part", value_name="share")
    chart = Chart(
        name="distribution",
        kind="bar",
        title=f"{results.name}: share of the classes",
        frame=long,
        x="share",
        y="class",
        group="part",
        percent_axes="x",
    )
    formats = dict.fromkeys(shares.columns, "share")
    table = Table("class_shares", "Share of the classes", shares.reset_index(), formats)
    return [Text(text), chart, table]


def detail_blocks(results: TargetResults) -> list[Block]:
    """Scores of every class, and the confusion matrix."""
    scores = results.test_scores
    frame = pd.DataFrame(
        [
            {
                "class": name,
                "rows": int((results.test["truth"] == name).sum()),
                "predicted": int((results.test["prediction"] == name).sum()),
                **{
                    f"{metric}{suffix}": scores[f"{metric}_{name}"][end]
                    for metric in ("precision", "recall", "f1")
                    for suffix, end in (("", "value"), (" low", "low"), (" high", "high"))
                },
            }
            for name in results.classes
        ]
    )
    shown = frame[["class", "rows", "predicted", "precision", "recall", "f1"]]
    formats = {"rows": "count", "predicted": "count"} | dict.fromkeys(frame.columns[3:], "share")
    words = (
        "Recall: of the rows that truly belong to a class, the share that was found. Precision: of "
        "the rows called so, the share that truly is. F1 is the balance of both."
    )
    return [
        Text(words, title="Class by class"),
        Table("per_class", "Scores of each class on the test rows", shown, formats),
        Table("per_class_intervals", "Scores of each class", frame, formats, shown=0),
        _confusion(results),
        Text(confusion_sentence(results)),
    ]


def _confusion(results: TargetResults) -> Chart:
    counts = results.choice["details"]["confusion"]
    rows = []
    for truth, predicted in counts.items():
        total = max(sum(predicted.values()), 1)
        rows += [
            {
                "truth": truth,
                "prediction": name,
                "share": n / total,
                "text": f"{count(n)}<br>{share(n / total)}",
            }
            for name, n in predicted.items()
        ]
    return Chart(
        name="confusion",
        kind="heatmap",
        title=f"{results.name}: true class against predicted class, test rows",
        frame=pd.DataFrame(rows),
        x="prediction",
        y="truth",
        value="share",
        text="text",
        x_title="predicted",
        y_title="true class",
    )


def confusion_sentence(results: TargetResults) -> str:
    """The most frequent mistake, and classes that are never predicted."""
    counts = results.choice["details"]["confusion"]
    mistakes = {
        (truth, name): n
        for truth, row in counts.items()
        for name, n in row.items()
        if name != truth and n
    }
    if not mistakes:
        return "No row was put into a wrong class."
    (truth, name), n = max(mistakes.items(), key=lambda item: item[1])
    text = (
        f"The most frequent mistake is to call {truth} {name}: {count(n)} of "
        f"{counted(sum(mistakes.values()), 'mistake')}."
    )
    if never := never_predicted(results):
        text += f" {listed(never)} {'is' if len(never) == 1 else 'are'} never predicted."
    return text


def never_predicted(results: TargetResults) -> list[str]:
    """Classes that are predicted for no test row."""
    return [name for name in results.classes if not (results.test["prediction"] == name).any()]


def calibration_blocks(results: TargetResults) -> list[Block]:
    """Whether probabilities are calibrated."""
    table = calibration_table(
        results.test["truth"], results.probabilities(results.test), results.classes
    )
    ends = [
        share_interval(row["observed_share"] * row["count"], row["count"])
        for _, row in table.iterrows()
    ]
    table[["low", "high"]] = np.array(ends)
    error = results.choice["details"]["calibration_error"]
    text = (
        f"Calibration asks whether classes given 70% happen in 70% of the cases. On average the "
        f"stated probability and what happened are {number(100 * error)} percentage points apart."
    )
    chart = Chart(
        name="calibration",
        kind="line",
        title=f"{results.name}: stated probability against what happened",
        frame=table,
        x="mean_probability",
        y="observed_share",
        group="class",
        low="low",
        high="high",
        percent_axes="xy",
        x_title="stated probability",
        y_title="observed share, with 95% interval",
        diagonal=True,
    )
    formats = dict.fromkeys(["mean_probability", "observed_share", "low", "high"], "share")
    formats["count"] = "count"
    return [
        Text(text, title="Are the probabilities honest?"),
        chart,
        Table("calibration", "Calibration", table, formats, shown=0),
    ]


def confidence_table(results: TargetResults) -> pd.DataFrame:
    """Coverage and accuracy above several confidence thresholds."""
    lowest = 1 / len(results.classes)
    rows = []
    for threshold in [t for t in (0.4, 0.5, 0.6, 0.7, CONFIDENT, 0.9, 0.95) if t > lowest]:
        sure = results.test[results.test["confidence"] >= threshold]
        low, high = share_interval(sure["right"].sum(), len(sure))
        rows.append(
            {
                "confidence from": threshold,
                "rows": len(sure),
                "share of rows": len(sure) / len(results.test),
                "share right": sure["right"].mean() if len(sure) else np.nan,
                "low": low if len(sure) else np.nan,
                "high": high if len(sure) else np.nan,
            }
        )
    return pd.DataFrame(rows)


def advice_blocks(results: TargetResults) -> list[Block]:
    """Predictions to accept, thresholds for the weakest class, and rows to review."""
    frame = confidence_table(results)
    long = frame.melt("confidence from", ["share of rows", "share right"], "what", "value").dropna()
    chart = Chart(
        name="confidence",
        kind="line",
        title=f"{results.name}: trusting only predictions above a confidence",
        frame=long,
        x="confidence from",
        y="value",
        group="what",
        percent_axes="xy",
        x_title="probability of the predicted class, at least",
    )
    formats = dict.fromkeys(frame.columns, "share") | {"rows": "count"}
    return [
        Text(reliability_sentence(results), title="Confident predictions"),
        chart,
        Table("confidence", "Rows and hits above a confidence", frame, formats),
        *_threshold(results),
        *_borderline(results),
    ]


def reliability_sentence(results: TargetResults) -> str:
    """Share of the test rows with high confidence, and their accuracy."""
    confident = results.choice["details"]["confident"]
    bar = share(confident["threshold"])
    if confident["right"] is None:
        return f"No test row is predicted with a confidence of {bar} or more; check every row."
    n = int((results.test["confidence"] >= confident["threshold"]).sum())
    text = (
        f"{share(confident['share'])} of the test rows ({count(n)}) are predicted with a confidence"
        f" of {bar} or more, and {share(confident['right'])} of those are right."
    )
    if confident["right_otherwise"] is not None:
        text += f" Of all other rows {share(confident['right_otherwise'])} are right."
    classes = results.test.loc[results.test["confidence"] >= confident["threshold"], "prediction"]
    parts = [f"{count(n)} {name}" for name, n in classes.value_counts().items()]
    return f"{text} The confident predictions are {listed(parts)}."


@dataclass(frozen=True)
class ClassThreshold:
    """A probability from which on to predict a class, and what that gives on the test rows.

    Attributes:
        name: the class.
        threshold: the probability.
        recall: share of the rows of the class that reach it.
        precision: share of the rows that reach it that are of the class.
        called: share of all rows that reach it.
        recall_now: share of the rows of the class that are found without it.
    """

    name: str
    threshold: float
    recall: float
    precision: float
    called: float
    recall_now: float


def threshold_for(results: TargetResults) -> ClassThreshold | None:
    """Choose a threshold on the validation rows that finds 80 % of the class with least recall.

    Returns:
        ``None`` where every class is found well enough or cannot be judged.
    """
    recalls = {name: results.test_scores[f"recall_{name}"]["value"] for name in results.classes}
    name = min(recalls, key=lambda key: recalls[key])
    rows = results.validation[results.validation["truth"] == name]
    truth = results.test["truth"] == name
    if recalls[name] >= _WANTED_RECALL or rows.empty or not truth.any():
        return None
    threshold = float(rows[f"probability_{name}"].quantile(1 - _WANTED_RECALL))
    called = results.test[f"probability_{name}"] >= threshold
    return ClassThreshold(
        name=name,
        threshold=threshold,
        recall=float(called[truth].mean()),
        precision=float(truth[called].mean()) if called.any() else np.nan,
        called=float(called.mean()),
        recall_now=recalls[name],
    )


def _threshold(results: TargetResults) -> list[Block]:
    rule = threshold_for(results)
    if rule is None:
        return []
    return [
        Text(
            f"Not to miss {rule.name}, look at every row whose probability of {rule.name} is "
            f"{share(rule.threshold)} or more: that finds {share(rule.recall)} of them instead of "
            f"{share(rule.recall_now)}, calls {share(rule.called)} of all rows, and "
            f"{share(rule.precision)} of those called truly are {rule.name}.",
            title=f"Finding {rule.name}",
        )
    ]


def borderline(results: TargetResults) -> pd.DataFrame:
    """Test rows with a small margin between the two most probable classes, smallest first."""
    return results.test[results.test["margin"] < BORDERLINE].sort_values("margin", kind="stable")


def _borderline(results: TargetResults) -> list[Block]:
    rows = borderline(results)
    if rows.empty:
        return [Text(f"No row is borderline: every margin is at least {share(BORDERLINE)}.")]
    text = (
        f"{counted(len(rows), 'test row')} ({share(len(rows) / len(results.test))}) "
        f"{'is' if len(rows) == 1 else 'are'} borderline: the two most probable classes are less "
        f"than {share(BORDERLINE)} apart. {share(rows['right'].mean())} of them are right. Review "
        "such rows by hand; the closest are listed, all are in the workbook."
    )
    chances = results.probabilities(rows)
    order = np.argsort(-chances.to_numpy(), axis=1)
    chosen = [results.classes[i] for i in order[:, 1]]
    named = results.row_labels(rows).assign(predicted=rows["prediction"].to_numpy(), second=chosen)
    for name in results.classes:
        named[f"P({name})"] = chances[name].to_numpy()
    named["truth"] = rows["truth"].to_numpy()
    formats = {f"P({name})": "share" for name in results.classes}
    title = "Borderline rows to review by hand"
    return [
        Text(text, title="Borderline rows"),
        Table("borderline", title, named, formats, shown=_SHOWN_ROWS),
    ]


def class_shift(results: TargetResults) -> list[Finding]:
    """A class is more or less frequent in the test rows than in the training rows."""
    train, test = results.truth("train"), results.truth("test")
    moved = []
    for name in results.classes:
        hits = int((train == name).sum()), int((test == name).sum())
        if shares_differ(hits, (len(train), len(test))):
            moved.append(
                f"{name} from {share(hits[0] / len(train))} to {share(hits[1] / len(test))}"
            )
    if not moved:
        return []
    return [
        Finding(
            f"Classes of {results.name} are not as frequent in the test rows as in the training "
            f"rows: {listed(moved)}.",
            f"Watch the share of the classes of {results.name} in new rows and retrain when it "
            f"moves again; {'it' if len(moved) == 1 else 'they'} moved between training and test.",
        )
    ]


def missed_class(results: TargetResults) -> list[Finding]:
    """A class has a low recall."""
    rule = threshold_for(results)
    if rule is None or rule.recall_now >= _LOW_RECALL:
        return []
    never = never_predicted(results)
    also = f" Never predicted: {listed(never)}." if never else ""
    return [
        Finding(
            f"Only {share(rule.recall_now)} of the true {rule.name} are predicted as {rule.name}."
            f"{also}",
            f"Where a missed {rule.name} is expensive, act from a probability of "
            f"{share(rule.threshold)} on: that finds {share(rule.recall)} of them, "
            f"{share(rule.precision)} of those called are.",
        )
    ]


def confident_predictions(results: TargetResults) -> list[Finding]:
    """Accept confident predictions, unless their accuracy is below their confidence."""
    confident = results.choice["details"]["confident"]
    bar = share(confident["threshold"])
    sure = results.test[results.test["confidence"] >= confident["threshold"]]
    if sure.empty:
        fact = f"No prediction of {results.name} reaches a confidence of {bar}."
        return [Finding(fact, f"Treat all {count(len(results.test))} predictions as advice only.")]
    low, high = share_interval(sure["right"].sum(), len(sure))
    stated, right = sure["confidence"].mean(), sure["right"].mean()
    if high < stated:
        return [
            Finding(
                f"Confident predictions of {results.name} claim {share(stated)} and are right in "
                f"{share(right)} ({share(low)} to {share(high)}).",
                f"Calibrate {results.name} on more rows before trusting a stated {share(stated)}.",
            )
        ]
    step = (
        f"Accept predictions of {results.name} with a confidence of {bar} or more without review: "
        f"{share(len(sure) / len(results.test))} of the rows, {share(right)} right."
    )
    return [Finding("", step)]


def borderline_mistakes(results: TargetResults) -> list[Finding]:
    """Borderline rows hold more mistakes than their share of the rows."""
    rows, wrong = borderline(results), int((~results.test["right"]).sum())
    held = (~rows["right"]).sum() / max(wrong, 1)
    if rows.empty or held <= len(rows) / len(results.test):
        return []
    return [
        Finding(
            "",
            f"Send predictions of {results.name} with a margin under {share(BORDERLINE)} to a "
            f"reviewer: {share(len(rows) / len(results.test))} of the rows, {share(held)} of all "
            "mistakes.",
        )
    ]


def limitations(results: TargetResults) -> list[Finding]:
    """Apply the rules that only such a target has."""
    rules = (missed_class, confident_predictions, borderline_mistakes, class_shift)
    return [finding for rule in rules for finding in rule(results)]
