import sys

from trimcore.cli.main import main

sys.exit(main())
