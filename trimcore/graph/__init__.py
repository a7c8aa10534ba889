"""Which channels of a network belong together: the ground that counting, surgery and cost stand on.

It may import `layers`, `compute` and `errors`.
"""
