"""The command line, one file per command. It can do everything the dashboard can.

May import every other room.
"""
