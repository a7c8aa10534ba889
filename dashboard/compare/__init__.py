"""The page Compare: runs side by side, and the tree of their branches.

It imports widgets, session and charts, and no other page.
"""
