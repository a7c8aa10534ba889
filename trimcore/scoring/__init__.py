"""Rank neurons: APoZ, relevance in maxout units, the Taylor criterion, and weight norms.

May import `spec` for the names of criteria, `graph`, `layers`, `compute` and `errors`.
"""
