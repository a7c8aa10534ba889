"""Remove neurons and weights: cut a network to a smaller one with the same outputs, or rebuild one at given widths.

May import `models`, `graph`, `layers`, `compute`, `spec` and `errors`.
"""
