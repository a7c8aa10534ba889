"""Prune, retrain, repeat: how a run is prepared, and the loop that carries it out and yields events.

It may import everything below it: all rooms but `tables`, `jobs` and `cli`.
"""
