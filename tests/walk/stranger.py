"""A stranger's path from the opened page to the INT8 file of a trimmed network, step by step, with the clicks."""

from tests.walk.walker import Walk


def everything(walk: Walk, url: str) -> None:
    """LeNet-5 on the images that come along, trimmed with the defaults."""
    walk.clicks = 0
    walk.page.goto(url)
    walk.see("Which neurons went, and when?")
    walk.step("Trim your own network", lambda: walk.see("Trimmable neurons"))
    walk.step("Trim it now with the defaults", lambda: walk.see("Finished: "))
    walk.step("Open report", lambda: walk.see("Command line"))
    walk.settled()
    walk.choose("Format", "ONNX in INT8")
    walk.clicks += 2
    print("          Format, ONNX in INT8 (2 clicks)")
    download = walk.page.get_by_role("button", name="Download iteration")
    walk.step("Export", download.wait_for)
    with walk.page.expect_download() as waiting:
        walk.step("Download iteration", lambda: None)
    waiting.value.save_as(walk.folder / waiting.value.suggested_filename)
    walk.picture("int8-exported")
    print(f"{walk.clicks:5} clicks to {waiting.value.suggested_filename}", flush=True)
