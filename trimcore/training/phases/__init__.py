"""The phases of a run, one per file. Each continues from the run's state and yields events."""
