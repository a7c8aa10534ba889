"""The phases of a run, one a file: each goes on from the run's state and yields events."""
