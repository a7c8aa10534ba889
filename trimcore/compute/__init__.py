"""Where and how computation runs: devices, precision, distributed processes, seeds and memory.

May import `system` and `errors`.
"""
