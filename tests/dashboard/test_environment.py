"""The server prepares its process before torch is loaded."""

import os
import subprocess
import sys


def test_threads_of_the_server_do_not_spin():
    """A browser on the same machine would starve them: a measurement of milliseconds would take seconds."""
    code = "import dashboard, os, sys; print(os.environ['OMP_WAIT_POLICY'], 'torch' in sys.modules)"
    clean = {name: value for name, value in os.environ.items() if name != "OMP_WAIT_POLICY"}
    for given, wanted in (({}, "PASSIVE"), ({"OMP_WAIT_POLICY": "ACTIVE"}, "ACTIVE")):
        done = subprocess.run([sys.executable, "-c", code], env={**clean, **given}, capture_output=True, text=True)
        assert done.stdout.split() == [wanted, "False"], done.stderr
