"""What several pages share: the sidebar, charts and tables with help, the choice of rules, the state of a run.

It imports session and charts, and no page.
"""
