"""How neurons are ranked: APoZ, relevance in maxout units, Taylor, weight norms.

It may import `spec` for the names of criteria, `graph`, `layers`, `compute` and `errors`.
"""
