"""The README is true, and the links, modules and files that the documentation names exist."""

import importlib.util
import re
import textwrap
import tomllib
from pathlib import Path
from urllib.parse import unquote

import pytest

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text("utf-8")
FOLDERS = ("trimcore", "dashboard", "tests")
PAGES = sorted([*ROOT.glob("*.md"), *(page for folder in FOLDERS for page in (ROOT / folder).rglob("*.md"))])
FENCE = re.compile(r"^ *```.*?^ *```$", re.DOTALL | re.MULTILINE)
SPAN = re.compile(r"`([^`\n]+)`")


def block(language: str, text: str = README) -> str:
    return re.search(rf"```{language}\n(.*?)```", text, re.DOTALL).group(1)


def named(pages: list[Path]) -> dict:
    return {"argvalues": pages, "ids": [page.relative_to(ROOT).as_posix() for page in pages]}


def links(page: Path) -> list[str]:
    """The targets of the page's links and pictures, without those on the web."""
    text = SPAN.sub("", FENCE.sub("", page.read_text("utf-8")))
    found = re.findall(r"\]\(([^)\s]+)\)", text)
    return [unquote(link) for link in found if not re.match(r"[a-z]+:", link)]


def anchors(page: Path) -> set[str]:
    """The anchors that GitHub gives to the headings of a page."""
    headings = re.findall(r"^#+ (.*)$", FENCE.sub("", page.read_text("utf-8")), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


# ---- the README itself


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


def test_the_loop_is_that_of_the_example():
    """The example is run by a test of its own."""
    example = (ROOT / "tests" / "examples" / "detector.py").read_text("utf-8").replace("  # fmt: skip", "")
    assert textwrap.indent(block("python loop"), "    ") in example


def test_no_python_block_of_the_readme_is_left_out():
    assert len(re.findall(r"```python", README)) == 3


def test_the_readme_is_short():
    assert len(README.splitlines()) <= 200


@pytest.mark.parametrize(("marker", "does"), [("start", "streamlit run dashboard/app.py"), ("tests", "pytest -n 3")])
def test_a_command_follows_its_marker(marker, does):
    """CI extracts this one line and runs it, so the files that it names must exist."""
    (command,) = re.findall(rf"<!-- {marker} -->\n```bash\n([^\n]*)\n```\n", README)
    assert command.endswith(does)
    files = re.findall(r"\S+\.(?:txt|py)", command)
    assert "requirements.txt" in files
    assert [name for name in files if not (ROOT / name).is_file()] == []


# ---- all pages


@pytest.mark.parametrize("page", **named(PAGES))
def test_every_link_leads_to_an_existing_file_and_heading(page):
    for link in links(page):
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.is_file(), f"{link}: no such file"
        assert target.is_relative_to(ROOT), f"{link}: outside the repository"
        assert not anchor or anchor in anchors(target), f"{link}: no such heading"


def test_every_page_can_be_reached_from_the_readme():
    reached, new = set(), [ROOT / "README.md"]
    while new:
        page = new.pop()
        reached.add(page)
        targets = {(page.parent / link.partition("#")[0]).resolve() for link in links(page) if link[0] != "#"}
        new += [target for target in targets if target.suffix == ".md" and target not in reached]
    assert reached == {page.resolve() for page in PAGES}


@pytest.mark.parametrize("page", **named(PAGES))
def test_every_module_in_a_command_exists(page):
    for name in re.findall(r"-m ((?:trimcore|dashboard|tests)[\w.]*\w)", page.read_text("utf-8")):
        assert importlib.util.find_spec(name), name


@pytest.mark.parametrize("page", **named(PAGES))
def test_every_code_file_that_is_named_exists(page):
    text = FENCE.sub("", page.read_text("utf-8"))
    for name in re.findall(r"(?<=`)[\w./-]+/[\w.-]+\.py(?=`)", text):
        places = (ROOT, ROOT / "trimcore", page.parent)
        assert any((place / name).is_file() for place in places), name


def test_every_name_in_the_contributing_guide_exists():
    page = (ROOT / "trimcore" / "CONTRIBUTING.md").read_text("utf-8")
    section = page.split("## Where to add something")[1].split("\n## ")[0]
    code = "\n".join(path.read_text("utf-8") for folder in FOLDERS for path in (ROOT / folder).rglob("*.py"))
    names = set(re.findall(r"`([A-Za-z_]\w*)`", section))
    assert len(names) > 15
    assert names - set(re.findall(r"\w+", code)) == set()


@pytest.mark.parametrize(
    "label", ["Trim it now with the defaults", "Profile this network", "Hide guide", "Show the guide"]
)
def test_every_button_that_the_guide_names_exists(label):
    assert label in " ".join((ROOT / "dashboard" / "README.md").read_text("utf-8").split())
    assert any(f'"{label}"' in path.read_text("utf-8") for path in (ROOT / "dashboard").rglob("*.py"))


def test_the_login_settings_are_complete():
    text = (ROOT / "dashboard" / "README.md").read_text("utf-8")
    settings = tomllib.loads(textwrap.dedent(block("toml secrets", text)))
    wanted = {"redirect_uri", "cookie_secret", "client_id", "client_secret", "server_metadata_url"}
    assert set(settings["auth"]) == wanted
    assert settings["people"]["allow"] == ["*@example.org"]
