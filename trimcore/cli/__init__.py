"""The command line: one file a command. Everything that the page can do can be done here.

It may import every other room.
"""
