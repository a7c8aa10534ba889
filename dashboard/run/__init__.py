"""The page Run: the progress and the outcome of a run. It imports widgets, session and charts, and no other page."""
