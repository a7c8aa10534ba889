"""`python -m tests.benchmarks`: how fast trimcore is, each figure against something measured in the same run."""
