"""What is truly particular to one use case: functions that its YAML points to."""
