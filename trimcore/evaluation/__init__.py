"""Evaluate a network: accuracy, changed answers, verification, single neurons, INT8, and other runtimes.

May import `timing`, `files`, `surgery`, `scoring`, `data`, `tasks`, `graph`, `compute`, `tables`, `system` and
`errors`.
"""
