"""Where and how arithmetic happens: devices, precision, processes that train together, seeds, memory.

It may import `system` and `errors`.
"""
