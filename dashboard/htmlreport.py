"""Write a run as one HTML file from the command line. See `dashboard.report.html_report`.

    python -m dashboard.htmlreport RUN --out FILE [--runs DIR]
"""

import sys

from dashboard.report.html_report import main

if __name__ == "__main__":
    sys.exit(main())
