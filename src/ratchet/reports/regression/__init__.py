"""What only a target of numbers has."""
