import sys

from trimcore.cli import main

sys.exit(main())
