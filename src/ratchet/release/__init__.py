"""What decides which model serves, and keeps what it decided."""
