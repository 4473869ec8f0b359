"""Rules that look at a target of classes."""

from __future__ import annotations

from ratchet.reports.blocks import Finding
from ratchet.reports.classification import advice as classes_use
from ratchet.reports.classification import results as classes
from ratchet.reports.formatting import count, listed, share
from ratchet.reports.intervals import share_interval, shares_differ
from ratchet.reports.target_results import BORDERLINE, TargetResults


def class_shift(case: TargetResults) -> list[Finding]:
    """A class is more or less frequent in the test rows than in the training rows."""
    train, test = case.truth("train"), case.truth("test")
    moved = []
    for name in case.classes:
        hits = int((train == name).sum()), int((test == name).sum())
        if shares_differ(hits, (len(train), len(test))):
            moved.append(
                f"{name} from {share(hits[0] / len(train))} to {share(hits[1] / len(test))}"
            )
    if not moved:
        return []
    return [
        Finding(
            f"Classes of {case.name} are not as frequent in the test rows as in the training rows: "
            f"{listed(moved)}.",
            f"Watch the share of the classes of {case.name} in new rows and retrain when it moves "
            f"again; {'it' if len(moved) == 1 else 'they'} moved between training and test.",
        )
    ]


def missed_class(case: TargetResults) -> list[Finding]:
    """A class most of whose rows are not found."""
    found = classes_use.threshold_for(case)
    if found is None or float(found["recall_now"]) >= 0.6:
        return []
    never = classes.never_predicted(case)
    also = f" Never predicted: {listed(never)}." if never else ""
    return [
        Finding(
            f"Only {share(float(found['recall_now']))} of the true {found['class']} are "
            f"predicted as {found['class']}.{also}",
            f"Where a missed {found['class']} is expensive, act from a probability of "
            f"{share(float(found['threshold']))} on: that finds {share(float(found['recall']))} "
            f"of them, {share(float(found['precision']))} of those called are.",
        )
    ]


def confidence(case: TargetResults) -> list[Finding]:
    """Confident predictions: use them, unless they are less often right than they say."""
    said = case.choice["details"]["confident"]
    sure = case.test[case.test["confidence"] >= said["threshold"]]
    if sure.empty:
        fact = f"No prediction of {case.name} reaches a confidence of {share(said['threshold'])}."
        return [Finding(fact, f"Treat all {count(len(case.test))} predictions as advice only.")]
    low, high = share_interval(sure["right"].sum(), len(sure))
    stated, right = sure["confidence"].mean(), sure["right"].mean()
    if high < stated:
        return [
            Finding(
                f"Confident predictions of {case.name} claim {share(stated)} and are right in "
                f"{share(right)} ({share(low)} to {share(high)}).",
                f"Calibrate {case.name} on more rows before trusting a stated {share(stated)}.",
            )
        ]
    step = (
        f"Accept predictions of {case.name} with a confidence of {share(said['threshold'])} or "
        f"more without review: {share(len(sure) / len(case.test))} of the rows, "
        f"{share(right)} right."
    )
    return [Finding("", step)]


def review(case: TargetResults) -> list[Finding]:
    """Borderline rows hold more than their share of the mistakes."""
    rows, wrong = classes_use.borderline(case), int((~case.test["right"]).sum())
    held = (~rows["right"]).sum() / max(wrong, 1)
    if rows.empty or held <= len(rows) / len(case.test):
        return []
    return [
        Finding(
            "",
            f"Send predictions of {case.name} with a margin under {share(BORDERLINE)} to a "
            f"reviewer: {share(len(rows) / len(case.test))} of the rows, {share(held)} of all "
            "mistakes.",
        )
    ]


RULES = [missed_class, confidence, review, class_shift]
