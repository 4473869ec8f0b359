"""What the benchmarks share: projects to measure in, and the measuring."""
