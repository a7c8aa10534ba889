"""The Streamlit app on top of trimcore: `streamlit run dashboard/app.py`. It does no tensor arithmetic and no training.

Packages import only those below them: app, the seven pages (model to report), widgets, session, charts.
"""

from trimcore.system import environment

environment.prepare()  # importing torch fixes what it reads from the environment
