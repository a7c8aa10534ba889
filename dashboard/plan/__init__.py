"""The page Plan: what to remove and in which order, with a preview of the result.

It imports widgets, session and charts, and no other page.
"""
