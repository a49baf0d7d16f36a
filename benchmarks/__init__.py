"""Speed, memory and coverage of skdep beside other programs on the same data: ``python -m benchmarks``."""
