"""CPU time of specifying a chart and of drawing it as PNG; the first one starts V8.

A chart of each kind with 200 rows; reads no data. Prints the size of a page with all of them, too.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from typing import get_args

import numpy as np
import pandas as pd
from harness.measure import median, print_table

from ratchet.reports.chart import Chart, Kind
from ratchet.reports.html import render_charts
from ratchet.reports.vega_lite import to_png, vega_lite

ROWS = 200


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--times", type=int, default=9, help="drawings of each (default: 9)")
    times = parser.parse_args().times
    drawn = charts()
    first = cpu(lambda: to_png(vega_lite(drawn[0])))
    rows = [
        [
            chart.kind,
            *(
                f"{1000 * median([cpu(work) for _ in range(times)]):.1f}"
                for work in (lambda c=chart: vega_lite(c), lambda c=chart: to_png(vega_lite(c)))
            ),
        ]
        for chart in drawn
    ]
    print_table(("CPU milliseconds", "specification", "with PNG"), rows)
    print(f"the first PNG: {1000 * first:.0f} ms; a page of all: {size(drawn) / 1e6:.2f} MB")


def charts() -> list[Chart]:
    random = np.random.default_rng(0)
    names = [f"{place % 20}" for place in range(ROWS)]
    values = pd.DataFrame(random.random((ROWS, 3)), columns=["x", "low", "high"])
    frame = values.assign(y=np.arange(ROWS), name=names, group="a", text="b")
    lying = frame.groupby("name", sort=False).first().reset_index()
    lying_from = {"frame": lying, "x": "x", "y": "name", "low": "low", "high": "high"}
    special = {
        "bar": lying_from,
        "dots": lying_from,
        "box": {"frame": frame, "x": "name", "y": "x"},
        "heatmap": {"frame": lying, "x": "name", "y": "group", "value": "x", "text": "text"},
    }
    usual = {"frame": frame, "x": "y", "y": "x"}
    return [Chart(kind, kind, kind, **special.get(kind, usual)) for kind in get_args(Kind)]


def cpu(work: Callable[[], object]) -> float:
    started = time.process_time()
    work()
    return time.process_time() - started


def size(drawn: Sequence[Chart]) -> int:
    return len(render_charts(drawn).encode())


if __name__ == "__main__":
    main()
