"""Project settings, read by Kedro: https://docs.kedro.org/en/stable/configure/settings/."""

import os
from collections.abc import Iterator
from functools import cached_property
from typing import Any

from ratchet.catalog import AtomicCatalog
from ratchet.config.kedro_loader import ConfigLoader

# OpenMP threads that wait for work spin by default, which slows gradient boosting down several
# times as soon as anything else runs on the machine. Read when the first OpenMP library is loaded.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

# The folds of a search keep the cores busy; linear algebra on several threads as well makes a
# logistic regression on the films cost many times the CPU time, and slower. Your own setting wins.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

# Arrow's own allocator keeps what tables have taken; the system gives it back, and reading and
# writing large ones costs less CPU time.
os.environ.setdefault("ARROW_DEFAULT_MEMORY_POOL", "system")

# What TensorFlow says of the machine, each time it is loaded, is no news to whoever runs pipelines.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

# A use case that is ended leaves semaphores to the resource tracker of loky. It removes them, which
# is its work, and warns.
os.environ.setdefault("PYTHONWARNINGS", "ignore:resource_tracker:UserWarning")


class _Hooks:
    """Hooks that are imported when a session begins: commands without one start faster."""

    def __iter__(self) -> Iterator[Any]:
        return iter(self._hooks)

    @cached_property
    def _hooks(self) -> tuple[Any, ...]:
        from ratchet.hooks.dvc_store import DvcStoreHooks
        from ratchet.hooks.progress import NotificationHooks, ProgressHooks
        from ratchet.hooks.project import ProjectHooks
        from ratchet.hooks.summary import SummaryHooks
        from ratchet.hooks.tracking import TrackingHooks
        from ratchet.hooks.workflow import WorkflowHooks

        # Kedro calls the last hook first: the summary comes before what may fail or take long.
        return (
            DvcStoreHooks(),
            NotificationHooks(),
            TrackingHooks(),
            SummaryHooks(),
            ProgressHooks(),
            WorkflowHooks(),
            ProjectHooks(),
        )


HOOKS = _Hooks()

DATA_CATALOG_CLASS = AtomicCatalog

CONFIG_LOADER_CLASS = ConfigLoader

CONFIG_LOADER_ARGS = {
    "base_env": "base",
    "default_run_env": "local",
    "config_patterns": {
        "globals": ["globals*"],
        "parameters": ["parameters*", "parameters*/**"],
        "mlflow": ["mlflow*"],
        "versioning": ["versioning*"],
        "airflow": ["airflow*"],
        "serving": ["serving*"],
    },
    # An environment changes single values of a use case without repeating the rest.
    "merge_strategy": {
        "parameters": "soft",
        "globals": "soft",
        "airflow": "soft",
        "serving": "soft",
    },
}
