"""The state behind the pages: the draft, the selected run, links, and cached readers of run folders.

It imports no page and no widget.
"""
