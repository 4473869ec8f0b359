"""What many use cases cost before any of them is run.

A copy of this project gets as many use cases as asked for: the five that there are, again and again
under other names. Measured are CPU seconds and peak memory of commands that read all of them, of
one phase of one, as a task of Airflow runs it, and of drawing all DAGs.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from tempfile import TemporaryDirectory

import yaml
from harness.measure import Peak, peak, print_table
from harness.project import ROOT, copy_project

from dags import PARSE

RUN = ["run", "--pipelines", "understanding", "--namespaces", "{one}"]
COMMANDS = {
    "kedro registry list": ["registry", "list"],
    "first phase of one": RUN,
    "the same as of a day": [*RUN, "--params", "as_of=2020-01-01"],
    "kedro ratchet manifest": ["ratchet", "manifest"],
}
SLOW_COMMANDS = {
    "kedro ratchet dvc": ["ratchet", "dvc"],
    "kedro ratchet status": ["ratchet", "status"],
}

SMALLEST = 3
"""Which use case of the project has the smallest raw file, counted from 0."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--numbers",
        type=int,
        nargs="+",
        default=[5, 10, 100],
        help="of use cases (default: 5 10 100)",
    )
    parser.add_argument(
        "--all", action="store_true", help="also what takes a good part of a second per use case"
    )
    options = parser.parse_args()
    numbers, commands = options.numbers, COMMANDS | (SLOW_COMMANDS if options.all else {})
    costs: dict[str, list[Peak]] = {name: [] for name in (*commands, "drawing all DAGs")}
    sizes: list[float] = []
    for number in numbers:
        with TemporaryDirectory() as folder:
            project = Path(folder)
            names = make_use_cases(copy_project(project), number)
            for name, words in commands.items():
                given = [word.format(one=names[SMALLEST]) for word in words]
                costs[name].append(peak("-m", "kedro", *given, cwd=project))
            manifest = {"RATCHET_MANIFEST": str(project / "dags/manifest.json")}
            home = {"AIRFLOW_HOME": str(project / ".airflow")}
            draw = ["-c", PARSE, str(ROOT / "dags")]
            costs["drawing all DAGs"].append(peak(*draw, cwd=project, **manifest, **home))
            sizes.append((project / "dags/manifest.json").stat().st_size / 1e6)
    show(numbers, costs, sizes)


def make_use_cases(project: Path, number: int) -> list[str]:
    """Put so many use cases in the place of those of a project; their names."""
    folder = project / "conf/base/parameters"
    path = project / "conf/base/catalog/01_raw.yml"
    catalog = yaml.safe_load(path.read_text())
    models = {name.partition(".")[0]: entry for name, entry in catalog.items()}
    texts = {name: (folder / f"{name}.yml").read_text() for name in models}
    for part in project.glob("conf/*/parameters/*.yml"):
        if part.stem in models:
            part.unlink()
    entries, names = {}, []
    for count in range(number):
        model = list(models)[count % len(models)]
        name = f"{model}_{count:04}"
        text = texts[model].replace(f"{model}:", f"{name}:", 1)
        (folder / f"{name}.yml").write_text(text)
        entries[f"{name}.raw"] = models[model]
        names.append(name)
    path.write_text(yaml.safe_dump(entries))
    run = folder / "run.yml"
    run.write_text(run.read_text().replace("first_report: prices", f"first_report: {names[0]}"))
    (project / "dags").mkdir()
    return names


def show(numbers: list[int], costs: dict[str, list[Peak]], sizes: list[float]) -> None:
    heads = [f"{number:,}" for number in numbers]
    rows = [[name, *(f"{one.cpu:.2f}" for one in found)] for name, found in costs.items()]
    rows += [["dags/manifest.json, MB", *(f"{size:.2f}" for size in sizes)]]
    print_table(("CPU s, by use cases", *heads), rows)
    rows = [[name, *(f"{one.memory:.0f}" for one in found)] for name, found in costs.items()]
    print_table(("\npeak MB", *heads), rows)


if __name__ == "__main__":
    main()
