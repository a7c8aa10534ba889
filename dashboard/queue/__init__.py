"""The page Queue: what works and what waits on each device, in which order."""
