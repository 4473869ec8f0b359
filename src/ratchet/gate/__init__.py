"""The gate: whether a challenger may replace the champion, from predictions of the same rows."""
