"""Evaluate a network: accuracy, verification, the role of a single neuron, INT8, and other runtimes.

May import `timing`, `files`, `surgery`, `scoring`, `data`, `tasks`, `graph`, `compute`, `tables`, `system` and
`errors`.
"""
