"""Code of one's own does what it should not. When it has been mended, the run goes on."""

import subprocess
import sys
from pathlib import Path

import tomli_w

from tests.dashboard.serving import ROOT
from tests.faults import mine
from tests.faults.kinds.own import OWN_NETWORK, launch_own, switch, use
from tests.faults.kinds.waiting import device_taken
from tests.faults.scene import ASKED, Broken, Scene, until

MOST_LOG = 400 * 1024 * 1024  # bytes: it is looked at now and then, and one call prints a lot


def raises(scene: Scene) -> Path:
    return failing(scene, "raises", "ValueError: these numbers")


def exits(scene: Scene) -> Path:
    """A program that ends in the middle has not finished."""
    return failing(scene, "exits", "I have had enough")


def failing(scene: Scene, harm: str, reason: str) -> Path:
    """It ends the run at some call of the network, which happen in training, profiling and measuring."""
    run = launch_own(scene, **OWN_NETWORK)
    scene.some_moment(run)
    switch(scene, harm, scene.chance.randrange(120))
    until(lambda: not scene.state(run).active, "its end")
    status = scene.check_true(run, {"failed"})
    if status.state == "failed" and reason not in status.reason:
        raise Broken(f"the reason is not told: {status.reason}")
    switch(scene)
    return run


def prints(scene: Scene) -> Path:
    """The log does not grow without end, and the run goes on."""
    run = launch_own(scene, **OWN_NETWORK)
    switch(scene, "prints", scene.chance.randrange(20))
    largest = 0

    def ended() -> bool:
        nonlocal largest
        largest = max(largest, (run / "log.txt").stat().st_size)
        return not scene.state(run).active

    until(ended, "its end")
    scene.check_true(run, set())
    if largest > MOST_LOG:
        raise Broken(f"the log grew to {largest:,} bytes")
    return run


def changes(scene: Scene) -> Path:
    """Weights that change while the network is measured would belong to other results: it ends with a line."""
    run = launch_own(scene, **OWN_NETWORK)
    switch(scene, "changes", scene.chance.randrange(40))
    until(lambda: not scene.state(run).active, "its end")
    status = scene.check_true(run, {"failed"})
    if status.state == "finished" or "changed its own weights" not in status.reason:
        raise Broken(f"nobody noticed that its weights changed: it is {status.state}, {status.reason}")
    switch(scene)
    return run


def edited(scene: Scene) -> Path:
    """The file is edited while the run waits. It uses what is there when it starts, or ends with a line."""
    file = scene.folder.parent / "edited_code.py"
    text = Path(mine.__file__).read_text("utf-8").replace('"mine', '"edited')
    edits = {
        "as it was": text, "no Python": text + "\ndef (:\n", "raises": text + "\nraise OSError('two\\nlines')\n",
        "not registered": text.replace('"edited"', '"another"'), "wider": text.replace("32", "40"),
    }  # fmt: skip
    use(scene, str(file))
    for what in ("as it was", "wider"):
        file.write_text(edits[what], "utf-8")
        scene.compare_with(f"edited: {what}", launch_edited)
    what = scene.chance.choice(list(edits))
    original = scene.others["edited: as it was"]
    file.write_text(text, "utf-8")
    with device_taken(scene):
        run = launch_edited(scene)
        file.write_text(edits[what], "utf-8")
    until(lambda: not scene.state(run).active, "its end")
    status = scene.check_true(run, {"failed"})
    scene.reference = scene.others.get(f"edited: {what}", original)
    if (status.state == "finished") != (f"edited: {what}" in scene.others):
        raise Broken(f"with code that is {what}, the run is {status.state}: {status.reason}")
    file.write_text(text, "utf-8")
    return run


def launch_edited(scene: Scene) -> Path:
    """From the command line: this process has loaded another version of the code."""
    file = scene.folder.parent / "spec.toml"
    file.write_text(tomli_w.dumps({**ASKED, **OWN_NETWORK, "data": "edited-digits", "model": "edited"}), "utf-8")
    command = [sys.executable, "-m", "trimcore", "launch", str(file), "--runs", str(scene.folder)]
    return scene.folder / subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout.strip()
