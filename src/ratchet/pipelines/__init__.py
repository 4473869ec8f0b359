"""The phases of CRISP-DM as modular pipelines; none of them knows a use case."""
