"""Trace a network and group its channels. Surgery, counting and costs are based on this graph.

May import `layers`, `compute` and `errors`.
"""
