"""Tables of images: columns, splits, and errors that name the row."""

from pathlib import Path

import pytest
from PIL import Image

from trimcore import data
from trimcore.errors import DataError


def picture(path: Path, value: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (4, 4), (value, 0, 0)).save(path)


def table(folder: Path, text: str, name: str = "table.csv") -> str:
    (folder / name).write_text(text, "utf-8-sig")
    return f"images:{folder / name}"


def rows(folder: Path, header: str, counts: dict[tuple[str, str], int]) -> str:
    """(split, label) -> number of images; each image's red is the label's place."""
    labels = sorted({label for _, label in counts})
    lines, number = [header], 0
    for (split, label), count in counts.items():
        for _ in range(count):
            number += 1
            picture(folder / "images" / f"{number}.png", 20 * labels.index(label))
            lines.append(f"images/{number}.png,{label},{split}")
    return "\n".join(lines)


@pytest.mark.parametrize("header", ["path,label,split", "Filename, Class ,SET", "image_path,category,subset"])
def test_a_table_with_splits(tmp_path, header):
    counts = {("train", "cat"): 6, ("Train", "dog"): 6, ("valid", "cat"): 2, ("test", "cat"): 2, ("test", "dog"): 1}
    loaded = data.load(table(tmp_path, rows(tmp_path, header, counts)), image_size=4)
    assert loaded.classes == ("cat", "dog")
    assert [len(split) for split in (loaded.train, loaded.validation, loaded.test)] == [12, 2, 3]
    for split in (loaded.train, loaded.validation, loaded.test):
        assert [int(split.image(i)[0, 0, 0]) // 20 for i in range(len(split))] == split.labels.tolist()
    assert loaded.notes == (
        "2 classes; 12 to train, 2 from the split validation for validation, 3 from the split test as the test",
        "the split validation has no images of dog",
    )


def test_a_table_without_splits(tmp_path):
    counts = {("", str(label)): 10 for label in (10, 9, 2)}
    text = "\n".join(line.rpartition(",")[0] for line in rows(tmp_path, "file,label,x", counts).splitlines())
    loaded = data.load(table(tmp_path, text), image_size=4)
    assert loaded.classes == ("2", "9", "10"), "numbers by size"
    assert [len(split) for split in (loaded.train, loaded.validation, loaded.test)] == [24, 3, 3]
    assert "both held out of table.csv" in loaded.notes[0]


def test_tabs_absolute_paths_and_files_that_are_missing(tmp_path):
    picture(tmp_path / "elsewhere" / "a b,c.png", 7)
    lines = ["path\tlabel"] + [f"{tmp_path}/elsewhere/a b,c.png\t{name}" for name in "ab" for _ in range(9)]
    name = table(tmp_path, "\n".join([*lines, "../gone.png\ta"]), "table.tsv")
    loaded = data.load(name, image_size=4)
    assert loaded.skipped == ("../gone.png",)
    assert sum(len(split) for split in (loaded.train, loaded.validation, loaded.test)) == 18
    assert loaded.notes[1] == "17 rows name a file that another row names too: the splits may share images"


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("name,label\na.png,x\n", "no column 'path', only 'name', 'label'; also accepted: file, filename"),
        ("path,kind\na.png,x\n", "no column 'label', only 'path', 'kind'"),
        ("path,label\na.png,x\n,y\n", "row 3: the column 'path' is empty"),
        ("path,label\na.png,\nb.png,y\n", "row 2: the column 'label' is empty"),
        ("path,label,split\na.png,x,train\nb.png,y,later\n", "row 3: the split 'later' is none of train, training"),
        ("path,label,split\na.png,x,train\nb.png,y,\n", "row 3: the split '' is none of"),
        ("path,label,split\na.png,x,test\nb.png,y,test\n", "no row to train on"),
        ("path,label\na.png,x\nb.png,x\n", "only the class 'x'"),
        ("path,label,split\na.png,x,train\nb.png,y,train\nc.png,z,test\n", "no rows to train on of the classes z"),
        ("path,label\na.png,x\nb.png,y\n", "only 2 images"),
        ("path,label\n", "no rows"),
        ("", "not a table"),
        ("path,label\na.png,x,7\nb.png,y,8\n", "rows with more cells than the first line"),
        ('path,label\n"a.png,x\n', "not a table"),
        ("path,label\n" + "\n".join(f"{i}.png,{i % 2}" for i in range(30)), "none of a split's"),
    ],
)
def test_a_table_that_cannot_be_used_is_refused_in_one_line(tmp_path, text, complaint):
    with pytest.raises(DataError, match=complaint) as error:
        data.load(table(tmp_path, text))
    assert "\n" not in str(error.value)


def test_a_file_that_is_no_table_is_refused(tmp_path):
    (tmp_path / "a.csv").write_bytes(bytes(range(256)) * 4)
    for name in ("a.csv", "none.csv", "."):
        with pytest.raises(DataError):
            data.load(f"images:{tmp_path / name}")
    with pytest.raises(DataError, match=r"no file '.*none.csv'; use images:TABLE with an existing file"):
        data.load(f"images:{tmp_path / 'none.csv'}")
