"""What is kept and handed on: checkpoints, weights in several formats, exports. A file from a stranger runs no code.

It may import `surgery`, `models`, `graph`, `layers`, `compute`, `system` and `errors`.
"""
