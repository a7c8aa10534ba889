"""The page Profile: the APoZ of layers and neurons, and the inspection of single neurons.

It imports widgets, session and charts, and no other page.
"""
