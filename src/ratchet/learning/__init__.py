"""The mathematics of the project: it knows no use case and no framework around it."""
