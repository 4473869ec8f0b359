"""What serves: release candidates, how the champion does, and what follows from it."""
