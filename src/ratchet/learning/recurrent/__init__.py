"""Recurrent networks: architectures, activations, and training that is compiled once per spec."""
