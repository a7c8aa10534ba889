"""Evaluate a network: accuracy, latency, verification, and the role of a single neuron.

May import `surgery`, `scoring`, `data`, `graph`, `compute` and `errors`.
"""
