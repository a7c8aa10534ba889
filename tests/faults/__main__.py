"""A campaign of faults against real runs: what is shown stays true, nothing is left behind, nothing is lost.

    python -m tests.faults [--rounds 100] [--seed 1] [--only KIND ...] [--csv FILE]

Each round launches a run in processes of its own, does one thing to it at a random moment (see `kinds`), looks whether
the state that is shown is the true one within five seconds, and lets the run go on to its end. That has to be what
an undisturbed run comes to: the same tables and, to the bit, the same weights. Checkpoints of finished iterations must
never change. Half an hour to an hour for a hundred rounds on two cores. What needs a file system of its own is only
tried as root.
"""

import argparse
import contextlib
import csv
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter, defaultdict
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = "1"  # the same sums in the same order, and no waiting for another core

from tests.faults.kinds import KINDS, NEEDS_ROOT
from tests.faults.scene import Broken, Scene, environment, finished_files, living, undisturbed
from trimcore.errors import TrimError


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description="Faults against real runs.")
    parser.add_argument("--rounds", type=int, default=100)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", nargs="+", choices=list(KINDS), metavar="KIND", help=", ".join(KINDS))
    parser.add_argument("--csv", type=Path)
    asked = parser.parse_args()
    names = [name for name in asked.only or KINDS if name not in NEEDS_ROOT or os.geteuid() == 0]
    place, began = Path(tempfile.mkdtemp(prefix="faults-")), time.monotonic()
    reference, others = undisturbed(place / "reference"), {}
    survived, broken, slowest = Counter(), [], defaultdict(float)
    for number in range(asked.rounds):
        chance = random.Random(f"{asked.seed} {number}")
        name = names[number % len(names)]
        folder = place / f"{number:03}" / "runs"
        folder.mkdir(parents=True)
        scene, since = Scene(folder, chance, reference, others=others), time.monotonic()
        with environment():
            problem = one_round(name, scene)
        slowest[name] = max(slowest[name], scene.slowest)
        if problem:
            broken.append((number, name, problem))
        else:
            survived[name] += 1
            unmounted(folder)
            shutil.rmtree(folder.parent)
        print(f"{number:4}  {name:28} {time.monotonic() - since:5.1f} s  {problem or 'survived'}", flush=True)
    rows = [
        {"fault": name, "rounds": sum(number % len(names) == place for number in range(asked.rounds)),
         "survived": survived[name], "lost": sum(one == name for _, one, _ in broken),
         "slowest true state, s": f"{slowest[name]:.2f}"}
        for place, name in enumerate(names)
    ]  # fmt: skip
    show(rows)
    total = sum(survived.values())
    print(f"\n{asked.rounds} rounds, {total} survived, lost = {asked.rounds - total}; seed {asked.seed}, "
          f"{time.monotonic() - began:.0f} s")  # fmt: skip
    if asked.csv:
        with open(asked.csv, "w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
    if broken:
        print(f"what is left of the rounds that broke: {place}")
    else:
        shutil.rmtree(place)
    return bool(broken)


def one_round(name: str, scene: Scene) -> str:
    """What was broken, in a line; empty where nothing was."""
    try:
        run = KINDS[name](scene)
        kept = finished_files(run)
        scene.to_its_end(run)
        now = finished_files(run)
        if changed := [file for file, digest in kept.items() if now.get(file) != digest]:
            raise Broken(f"finished checkpoints have changed: {', '.join(changed)}")
    except (Broken, TrimError, OSError, subprocess.CalledProcessError) as error:
        for run in scene.folder.glob("*-*"):
            for process in living(run):
                process.kill()
        return f"BROKEN: {type(error).__name__}: {error}"
    return ""


def unmounted(folder: Path) -> None:
    if folder.is_mount():
        with contextlib.suppress(subprocess.CalledProcessError):
            subprocess.run(["umount", str(folder)], check=True)


def show(rows: list[dict]) -> None:
    print("\n| " + " | ".join(rows[0]) + " |\n|" + "---|" * len(rows[0]))
    for row in rows:
        print("| " + " | ".join(str(value) for value in row.values()) + " |")


if __name__ == "__main__":
    sys.exit(main())
