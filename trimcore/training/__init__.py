"""Prune, retrain, repeat: prepare a run, and execute it in a loop that yields events.

May import all rooms below it: every room but `tables`, `jobs` and `cli`.
"""
