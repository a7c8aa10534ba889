"""The page Report: the results of a run as tables, networks and an HTML file.

It imports widgets, session and charts, and no other page.
"""
