"""What only a target of classes has."""
