"""The page Model (/): choose a network and data, and see its parameters and MACs.

It imports widgets, session and charts, and no other page.
"""
