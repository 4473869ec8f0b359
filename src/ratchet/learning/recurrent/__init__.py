"""Recurrent networks: architectures, activations, and training that is compiled per program."""
