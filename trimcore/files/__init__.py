"""Checkpoints, weights in several formats, and exports. Reading an untrusted file never runs code from it.

May import `surgery`, `models`, `graph`, `layers`, `compute`, `system` and `errors`.
"""
