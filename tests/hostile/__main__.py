"""Hostile input, all of it: `python -m tests.hostile`, in one to five minutes. A table by surface; exit code 1 where
something broke."""

import argparse
import logging
import sys
import tempfile
import time
import warnings
from collections import Counter, defaultdict
from pathlib import Path

from tests.hostile import ALL
from tests.hostile.case import outcome


def main() -> int:
    argparse.ArgumentParser(prog="python -m tests.hostile", description=__doc__).parse_args()
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    began, found, broken = time.monotonic(), defaultdict(Counter), []
    for case in ALL:
        with tempfile.TemporaryDirectory() as folder:
            try:
                how = outcome(case, Path(folder))
            except Exception as error:  # noqa: BLE001 (whatever it is, it is what this looks for)
                how = "broken"
                broken.append(f"{case}: {type(error).__name__}: {error}")
        found[case.surface][how] += 1
    print("| surface | inputs | refused with a line | taken without harm | broken |\n|---|---|---|---|---|")
    for surface, counts in [*found.items(), ("all", sum(found.values(), Counter()))]:
        numbers = (sum(counts.values()), counts["refused"], counts["harmless"], counts["broken"])
        print(f"| {surface} | {' | '.join(map(str, numbers))} |")
    print(f"\n{time.monotonic() - began:.0f} s")
    print("\n".join(broken))
    return bool(broken)


if __name__ == "__main__":
    sys.exit(main())
