"""A run's network for inspection: the estimated time per image."""

import json

from dashboard.session import run_network


def test_the_time_estimate_uses_the_recorded_profile(tiny_run):
    assert run_network.subject(tiny_run.name, 0).seconds_per_image < 0.1
    path = tiny_run / "events.jsonl"
    events = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
    slow = [{**e, "seconds": 40.0, "examples": 20} if e["kind"] == "profiled" else e for e in events]
    path.write_text("".join(json.dumps(event) + "\n" for event in slow), "utf-8")
    assert run_network.subject(tiny_run.name, 0).seconds_per_image == 2.0
    path.write_text("".join(json.dumps({**e, "seconds": 0.0}) + "\n" for e in slow), "utf-8")
    macs = next(e["macs"] for e in events if e["kind"] == "iteration")
    seconds = run_network.subject(tiny_run.name, 0).seconds_per_image
    assert seconds == macs / 5e10, "a GPU run says nothing about this CPU"
