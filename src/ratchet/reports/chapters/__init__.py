"""What the report says of any target."""
