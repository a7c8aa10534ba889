"""The trainer as a module for your own `torchrun`: `torchrun ... -m trimcore.worker RUN_FOLDER`."""

import sys

from trimcore.jobs.worker import main

if __name__ == "__main__":
    sys.exit(main())
