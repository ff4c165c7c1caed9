"""Benchmarks. `python -m bench` prints them all; timings compare ratios within one run, as machines are noisy."""
