"""What can be asked: one module, and one router, for each matter."""
