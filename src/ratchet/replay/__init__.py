"""Backtest of release policies: what gate, watch and rollback would have done on past Sundays.

``command`` reads the options and ``setup`` what is replayed; ``stages`` keeps what ``training``
trains as of each Sunday, with all later answers. ``backtest`` takes every policy of ``policies``
through the days of ``history``, calling the gate and the watch of production; ``outcome`` compares
the policies, and ``page`` shows that. See ``docs/explanation/replay.md``.
"""

QUICK_CANDIDATES = ("ridge", "logistic", "hist_gradient_boosting")
"""What is trained unless others are named: quick, and no worse than most."""
