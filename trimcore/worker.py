"""The trainer, under the name by which your own `torchrun` starts it: `torchrun ... -m trimcore.worker RUN_FOLDER`."""

import sys

from trimcore.jobs.worker import main

if __name__ == "__main__":
    sys.exit(main())
