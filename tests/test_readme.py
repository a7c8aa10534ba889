"""What the README says is so: its library example runs, its spec passes, its columns are the files' columns."""

import re
import tomllib
from pathlib import Path

from trimcore import spec, tables

README = (Path(__file__).parents[1] / "README.md").read_text("utf-8")


def block(language: str) -> str:
    return re.search(rf"```{language}\n(.*?)```", README, re.DOTALL).group(1)


def test_the_library_example_does_what_it_says():
    names: dict = {}
    exec(block("python"), names)
    assert names["small"].conv2.out_channels == 48  # the second plan: two neurons of conv2
    assert names["model"].conv2.out_channels == 50
    assert set(names["plan"]) == {"conv2", "fc1"}
    assert names["profile"].examples == 500
    exec(block("python continued"), names)
    assert names["relevance"]["fc1"].counts.shape == (125, 4)
    assert (names["small"].fc1.out_features, names["small"].fc2.in_features) == (496, 124)


def test_the_spec_passes_and_shows_every_section():
    text = block("toml")
    parsed = spec.loads(text)
    assert parsed.step[0].rule_for("fc1").value == 252
    assert set(tomllib.loads(text)) >= {"base", "convert", "profile", "retrain", "step", "verify", "stop", "control"}


def test_the_columns_are_those_of_the_files():
    section = README.split("## The CSVs")[1].split("## ")[0]
    for name, columns in (("iterations", tables.ITERATIONS), ("layers", tables.LAYERS), ("neurons", tables.NEURONS)):
        entry = section.split(f"- `{name}.csv`")[1].split("\n- `")[0].split("\n\n")[0]
        quoted = " ".join(re.findall(r"`([^`]*)`", entry))
        assert [word for word in re.findall(r"[a-z0-9_]+", quoted) if word in columns] == columns
