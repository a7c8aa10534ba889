"""How neurons and weights go: a smaller network with the same outputs, and a network rebuilt at given widths.

It may import `models`, `graph`, `layers`, `compute`, `spec` and `errors`.
"""
