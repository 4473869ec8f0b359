"""The database of Airflow and the pool in it, by one process: to import Airflow takes seconds."""

from __future__ import annotations

import sys

from ratchet.orchestration import pool


def main() -> None:
    """Do ``airflow db migrate``, then make the pool of training tasks."""
    from airflow.__main__ import main as airflow_command

    sys.argv[1:] = ["db", "migrate"]  # where it looks for its words
    airflow_command()
    pool.make_if_absent()


if __name__ == "__main__":
    main()
