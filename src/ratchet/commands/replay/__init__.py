"""``kedro ratchet replay``: what a policy would have done on past Sundays."""
