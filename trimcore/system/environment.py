"""Settings that libraries read from the environment when they are loaded, so they must be set before torch is."""

import os

SETTINGS = {
    # Threads that spin while waiting starve as soon as another program (such as a browser) needs a core. LeNet-5 on two
    # cores beside two busy processes: 300 images/s spinning, 8,300 sleeping. On an idle machine, sleeping costs 15 to
    # 20 %.
    "OMP_WAIT_POLICY": "PASSIVE",
    "PYTHONUNBUFFERED": "1",
}


def prepare() -> None:
    """Apply the settings to this process, except those that the user has made."""
    for name, value in SETTINGS.items():
        os.environ.setdefault(name, value)
