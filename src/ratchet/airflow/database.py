"""The database of Airflow and the pool in it, by one process: to import Airflow takes seconds."""

from __future__ import annotations

import sys

NAME, SLOTS, ABOUT = "cores", 2, "Trainings at once, of all DAGs"


def main() -> None:
    """Do ``airflow db migrate``, then make the pool of training tasks."""
    from airflow.__main__ import main as airflow_command

    sys.argv[1:] = ["db", "migrate"]  # where it looks for its words
    airflow_command()
    make_pool_if_absent()


def make_pool_if_absent() -> None:
    """Create the pool where there is none: one that was changed by hand stays.

    ``airflow pools set`` would undo their change at every start.
    """
    from airflow.models.pool import Pool

    if Pool.get_pool(NAME) is None:
        Pool.create_or_update_pool(NAME, SLOTS, ABOUT, include_deferred=False)


if __name__ == "__main__":
    main()
