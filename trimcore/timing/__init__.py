"""Time networks: whole, layer by layer, and as a function of their widths.

May import `surgery`, `graph`, `compute`, `system` and `errors`.
"""
