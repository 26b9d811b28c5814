"""Labels of people's data: their order, their names, what is wrong with them."""

import json
import os
import re
import subprocess
import sys
import unicodedata
import zipfile
from pathlib import Path

import numpy as np
import pytest

import dataset_tool
from data.conversion.labels import sort_classes
from data.dataset import ImageFolderDataset
from tests.data.conversion import formats
from tests.test_dataset_tool import run

DECOMPOSED = unicodedata.normalize("NFD", "\u00e9")


@pytest.fixture(autouse=True)
def in_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def png(shade: int) -> bytes:
    return formats.image_file(np.full([8, 8, 3], shade, np.uint8))


def make_source(names: list[str], metadata: str | None = None, kind: str = "src") -> str:
    """A folder or a ZIP of images; the shade of each is its place in `names`."""
    files = {name: png(i) for i, name in enumerate(names)}
    if metadata is not None:
        files["dataset.json"] = metadata.encode()
    if kind.endswith(".zip"):
        with zipfile.ZipFile(kind, "w") as archive:
            for name, data in files.items():
                archive.writestr(name, data)
        return kind
    for name, data in files.items():
        path = Path(kind, name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return kind


def as_json(*labels: tuple, **more) -> str:
    return json.dumps({"labels": [list(entry) for entry in labels], **more})


def convert(source: str, *options: str) -> tuple[dict[int, object], list[str] | None, str]:
    """Labels by the place of the image in `make_source`, names of classes, what was printed."""
    dest = f"out-{len(os.listdir())}.zip"
    output = run(f"--source={source}", f"--dest={dest}", *options)
    with zipfile.ZipFile(dest) as archive:
        metadata = json.loads(archive.read("dataset.json"))
    if metadata["labels"] is None:
        return {}, None, output
    dataset = ImageFolderDataset(dest, use_labels=True)
    place = {name: int(dataset[i][0].flat[0]) for i, name in enumerate(dataset._image_fnames)}
    labels = {place[name]: label for name, label in metadata["labels"]}
    return labels, metadata.get("class_names"), output


def refuse(source: str, *options: str) -> str:
    output = run(f"--source={source}", "--dest=refused.zip", *options, exit_code=1)
    assert not os.path.exists("refused.zip")
    return output


ORDERS = {
    "numbers": [str(i) for i in range(12)],
    "numbers not from zero": ["2", "10", "100"],
    "numbers with zeros": ["007", "8", "010"],
    "negative numbers": ["-10", "-9", "0", "5", "10"],
    "words": ["Zebra", "ant", "bee"],
    "words with numbers": ["c1", "c2", "c10", "c10b", "d1"],
    "numbers and words": ["2", "10", "10b", "other"],
    "versions": ["v1.2", "v1.10", "v2"],
}


@pytest.mark.parametrize("case", ORDERS)
def test_order_of_classes(case):
    order = ORDERS[case]
    assert sort_classes(reversed(order)) == order
    assert sort_classes([*order, *sorted(order)]) == order


def test_order_of_classes_with_digits_without_end():
    digits = "9" * 5000  # Python's int() refuses them
    assert sort_classes(["1" + digits, digits, "x" + digits, "10", "x2"]) == [
        "10", digits, "1" + digits, "x2", "x" + digits,
    ]  # fmt: skip


@pytest.mark.parametrize("kind", ["src", "src.zip"])
@pytest.mark.parametrize("case", ORDERS)
def test_folders_are_numbered_in_this_order(case, kind):
    order = ORDERS[case]
    source = make_source([f"{name}/x.png" for name in order], kind=kind)
    labels, class_names, output = convert(source, "--labels=folders")
    assert class_names == order
    assert labels == dict(enumerate(range(len(order))))
    report = run(f"--inspect={source}", "--labels=folders", "--dest=sheet.png")
    for text in (output, report):
        rows = re.findall(r"^ +(\d+) +(\d+)  #+  (.*)$", text, re.MULTILINE)
        assert rows == [(str(i), "1", name) for i, name in enumerate(order)]


@pytest.mark.parametrize("form", ["mapping", "list", "labels"])
def test_words_in_json_are_numbered_in_this_order(form):
    source = make_source(["a.png", "b.png", "c.png"])
    pairs = [["a.png", "10"], ["b.png", "9"], ["c.png", "2"]]
    content = {"mapping": dict(pairs), "list": pairs, "labels": {"labels": pairs}}[form]
    Path("t.json").write_text(json.dumps(content))
    labels, class_names, _ = convert(source, "--labels=t.json")
    assert class_names == ["2", "9", "10"] and labels == {0: 2, 1: 1, 2: 0}


def test_names_of_classes_in_a_file_are_kept():
    source = make_source(["a.png", "b.png"])
    Path("t.json").write_text(as_json(("a.png", 1), ("b.png", 0), class_names=["x", "y"]))
    labels, class_names, output = convert(source, "--labels=t.json")
    assert labels == {0: 1, 1: 0} and class_names == ["x", "y"] and "Note" not in output
    Path("t.json").write_text(as_json(("a.png", 1), ("b.png", 0), class_names={"0": "x"}))
    _, class_names, output = convert(source, "--labels=t.json")
    assert class_names is None and '"class_names" is no list of texts; it is left out' in output
    Path("t.json").write_text(as_json(("a.png", 7), ("b.png", 0), class_names=["x", "y"]))
    assert (
        "there are 2 class names, but classes up to number 7"
        in convert(source, "--labels=t.json")[2]
    )


def test_long_lists_of_classes_are_cut():
    source = make_source([f"{i}/x.png" for i in range(40)])
    _, _, output = convert(source, "--labels=folders")
    assert "40 classes" in output and "\n  ... and 8 more" in output
    assert len(re.findall(r"^ +\d+ +1  #+  \d+$", output, re.MULTILINE)) == 32


def test_images_by_class_are_counted():
    source = make_source(["cat/1.png", "cat/2.png", "ant/1.png"])
    _, _, output = convert(source, "--labels=folders")
    assert re.search(r"^  0 +1  #+ +ant\n  1 +2  #+ +cat$", output, re.MULTILINE)
    _, _, output = convert(source, "--labels=folders", "--max-images=1")
    assert "Labels: 1 class\n  0        1" in output


def test_one_folder_for_all_is_noted():
    source = make_source(["top/a/1.png", "top/b/2.png", "top/b/3.png"])
    note = "Note: all images lie in one folder, top, which makes one class; its 2 subfolders make"
    assert note in convert(source, "--labels=folders")[2]
    assert note in run(f"--inspect={source}", "--labels=folders")
    assert "Note" not in convert(f"{source}/top", "--labels=folders")[2]
    flat = make_source(["top/1.png"], kind="flat.zip")
    assert "which makes one class\n" in convert(flat, "--labels=folders")[2]


def test_images_in_no_folder_stop_the_conversion_at_once():
    source = make_source(["a/1.png", "b/1.png", "z.png", "zz.png"])
    output = refuse(source, "--labels=folders")
    assert "z.png lies in no folder (2 of 4 images have no label; a/1.png has one)" in output
    labels, _, output = convert(source, "--labels=folders", "--on-error=skip")
    assert labels == {0: 0, 1: 1} and "Dropped: 2 unusable" in output


SPELLINGS = {
    "backslashes": (["a/1.png", "b/1.png"], lambda n: n.replace("/", "\\"), "turning \\ into /"),
    "dots": (["a/1.png", "b/1.png"], lambda n: f"./{n}", "leaving out ./"),
    "Windows": (["a/1.png", "b/1.png"], lambda n: f"D:\\x\\{n[0]}\\1.png", "the folder D:/x/"),
    "accents": (
        [f"{DECOMPOSED}/1.png", "b/1.png"],
        lambda n: unicodedata.normalize("NFC", n),
        "(Unicode NFC)",
    ),
    "suffixes": (["a/1.png", "b/1.png"], lambda n: n.replace("png", "JPG"), "the suffix"),
    "one folder more": (["a/1.png", "b/1.png"], lambda n: f"x/{n}", "leaving out the folder x/"),
    "one folder less": (["x/1.png", "x/2.png"], lambda n: n[2:], "putting the folder x/ in front"),
}


@pytest.mark.parametrize("kind", ["src", "src.zip"])
@pytest.mark.parametrize("case", SPELLINGS)
def test_labels_are_found_in_other_spellings(case, kind):
    names, respell, how = SPELLINGS[case]
    listed = [(respell(name), i + 3) for i, name in enumerate(names)]
    source = make_source(names, as_json(*listed), kind)
    changed = sum(respell(name) != name for name in names)
    labels, _, output = convert(source)
    assert labels == {0: 3, 1: 4} and "Labels: 2 classes" in output
    for text in (output, run(f"--inspect={source}", "--dest=sheet.png")):
        assert f"Note: {source}/dataset.json: {changed} name" in text and how in text
        assert "--cond=1" in text or text is output  # training understands the same
    # The same in a file of its own, and in training.
    Path("t.json").write_text(as_json(*listed))
    Path("t.csv").write_text("what is it,number\n" + "".join(f"{n},{c}\n" for n, c in listed))
    bare = make_source(names, kind=f"bare-{kind}")
    for table in ("t.json", "t.csv"):
        labels, _, output = convert(bare, f"--labels={table}")
        assert labels == {0: 3, 1: 4} and how in output
    dataset = ImageFolderDataset(source, use_labels=True)
    for i in range(2):
        image, _ = dataset[i]
        assert dataset.get_details(i).raw_label == image.flat[0] + 3
    assert how in dataset.label_notes()[0]


@pytest.mark.parametrize("kind", ["src", "src.zip"])
def test_labels_one_folder_down(kind):
    names = ["data/a/1.png", "data/b/1.png"]
    source = make_source(names, kind="unused")
    text = as_json(("a/1.png", 1), ("b\\1.png", 0), ("ghost.png", 0), class_names=["x", "y"])
    Path("unused/data/dataset.json").write_text(text)
    if kind == "src":
        Path("unused").rename("src")
    else:
        with zipfile.ZipFile(kind, "w") as archive:
            for name in (*names, "data/dataset.json"):
                archive.write(f"unused/{name}", name)
    source = kind
    labels, class_names, output = convert(source)
    assert labels == {0: 1, 1: 0} and class_names == ["x", "y"]
    note = f"the labels are those of {source}/data/dataset.json; there is no dataset.json at the"
    assert note in output and "1 name without an image, such as ghost.png" in output
    # Training reads the top only: the way to it is a conversion.
    output = run(f"--inspect={source}", "--dest=sheet.png")
    assert note in output and f"dataset_tool.py --source={source} --dest=dataset.zip" in output
    assert "--data=dataset.zip" in output and f"--data={source}" not in output


def test_several_lists_below_the_top_are_refused():
    source = make_source(["a/1.png", "b/1.png"])
    for folder in "ab":
        Path(source, folder, "dataset.json").write_text(as_json(("1.png", 0)))
    output = refuse(source)
    assert "a/dataset.json and b/dataset.json" in output and "--labels=none" in output
    assert convert(source, "--labels=none")[0] == {}
    assert convert(source, "--labels=folders")[0] == {0: 0, 1: 1}
    # One that says that there are no labels is no list of them.
    Path(source, "a", "dataset.json").write_text('{"labels": null}')
    assert "a/1.png has no label in src/b/dataset.json" in refuse(source)
    Path(source, "b", "dataset.json").write_text('{"labels": null}')
    assert convert(source)[0] == {}


def test_hidden_lists_are_no_lists_and_the_top_counts():
    source = make_source(["a/1.png", "b/1.png"])
    for folder in (".checkpoints", "__MACOSX"):
        Path(source, folder).mkdir()
        Path(source, folder, "dataset.json").write_text("nonsense")
    assert "Labels: none" in convert(source)[2]
    Path(source, "a", "dataset.json").write_text(as_json(("1.png", 5)))
    Path(source, "dataset.json").write_text(as_json(("a/1.png", 1), ("b/1.png", 0)))
    labels, _, output = convert(source)
    assert labels == {0: 1, 1: 0}
    assert "src/dataset.json is what counts, and a/dataset.json is left out" in output


GAPS = {
    "some": (
        [("a.png", 0), ("ghost.png", 1)],
        "b.png has no label in src/dataset.json (2 of 3 images have no label; a.png has one;"
        " ghost.png has one, but is no image)",
    ),
    "one": ([("a.png", 0), ("b.png", 1)], "c.png has no label in src/dataset.json (1 of 3"),
    "none": (
        [("x.png", 0), ("y.png", 1)],
        "a.png has no label in src/dataset.json (3 of 3 images have no label; x.png has one, but",
    ),
}


@pytest.mark.parametrize("case", GAPS)
def test_labels_for_some_images_stop_the_conversion(case):
    listed, message = GAPS[case]
    source = make_source(["a.png", "b.png", "c.png"], as_json(*listed))
    output = refuse(source)
    assert message in output and "--on-error=skip" in output and "--labels=none" in output
    assert "Labels: none" in convert(source, "--labels=none")[2]
    report = run(f"--inspect={source}")
    assert message in report and "Images:   3" in report and "--on-error=skip" in report
    if case == "none":
        assert message in refuse(source, "--on-error=skip")
        return
    labels, _, output = convert(source, "--on-error=skip")
    assert labels == {i: label for i, (name, label) in enumerate(listed) if name != "ghost.png"}
    assert "Skipped: src/c.png has no label in src/dataset.json" in output
    # Only the images that are looked at need labels.
    assert convert(source, "--max-images=1")[0] == {0: 0}


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs pipes")
def test_a_list_that_is_no_file_is_named():
    source = make_source(["a/x.png"])
    os.mkfifo(f"{source}/a/dataset.json")
    assert "src/a/dataset.json is no file but a pipe" in refuse(source)
    assert "Labels: none" in convert(source, "--labels=none")[2]


def test_empty_lists_are_noted():
    source = make_source(["a.png"], '{"labels": []}')
    assert "Labels: none\nNote: src/dataset.json lists no labels" in convert(source)[2]


TABLES = {
    "headings of their own": ("picture,breed\n1.png,cat\n2.png,dog\n", [0, 1], ["cat", "dog"]),
    "headings, numbers": ("Bild;Klasse\n1.png;3\n2.png;0\n", [3, 0], None),
    "headings, vectors": ("who\tage\tx\n1.png\t3\t.5\n2.png\t0\t1e1\n", [[3, 0.5], [0, 10]], None),
    "headings as a class": ("cat,dog\n1.png,cat\n2.png,dog\n", [0, 1], ["cat", "dog"]),
    "other images": ("1.png,cat\n2.png,dog\n3.png,ant\n", [0, 1], ["cat", "dog"]),
    "other images, numbers": ("1.png,4\n2.png,2\n3.png,9\n", [4, 2], None),
    "a remark at the end": ("1.png,4\n2.png,2\nsum,six\n", [4, 2], None),
    "whole numbers as words": ("1.png,-3\n2.png,x\n", None, None),
    "words that Python takes for numbers": ("1.png,nan\n2.png,1_0\n", [1, 0], ["1_0", "nan"]),
    "words in natural order": ("1.png,size 10\n2.png,size 9\n", [1, 0], ["size 9", "size 10"]),
}  # fmt: skip


@pytest.mark.parametrize("case", TABLES)
def test_tables(case):
    text, expected, class_names = TABLES[case]
    Path("t.csv").write_text(text)
    source = make_source(["1.png", "2.png"])
    if expected is None:
        assert "line 2: 'x' is not a number" in refuse(source, "--labels=t.csv")
        return
    labels, found_names, output = convert(source, "--labels=t.csv")
    assert labels == dict(enumerate(expected)) and found_names == class_names
    has_heading = case.startswith("headings")
    heading = re.sub("[,;\t]", ", ", text.partition("\n")[0])
    note = f"the first line holds headings, not a label: {heading}\n"
    assert (note in output) == has_heading == ("headings" in output)
    others = {
        "other images": "3.png",
        "other images, numbers": "3.png",
        "a remark at the end": "sum",
    }
    if case in others:
        assert f"Note: --labels=t.csv: 1 line without an image, such as {others[case]}" in output


def test_an_image_may_be_called_like_a_heading():
    Path("t.csv").write_text("image.png,cat\nname.png,dog\n")
    labels, class_names, output = convert(make_source(["image.png", "name.png"]), "--labels=t.csv")
    assert labels == {0: 0, 1: 1} and class_names == ["cat", "dog"] and "Note" not in output
    # Without suffixes these would have been taken for headings.
    Path("t.csv").write_text("image,cat\nname,dog\n")
    assert convert("src", "--labels=t.csv")[0] == {0: 0, 1: 1}


def test_decimal_commas_make_no_classes():
    Path("t.csv").write_text("1.png;0,5\n2.png;1,25\n")
    output = refuse(make_source(["1.png", "2.png"]), "--labels=t.csv")
    assert "line 1: 0,5 is no class; write numbers with a point" in output


def test_keys_of_lsun_are_matched_before_conversion(tmp_path):
    pytest.importorskip("lmdb")
    data = formats.image_file(formats.random_pixels(8, 8, 3))
    path = formats.lsun(tmp_path, {b"a": data, b"b": data})
    Path("t.csv").write_text("key of it,kind\na,x9\nb,x10\nc,x1\n")
    output = run(f"--source={path}", "--dest=o.zip", "--labels=t.csv")
    metadata = json.loads(zipfile.ZipFile("o.zip").read("dataset.json"))
    assert metadata["class_names"] == ["x9", "x10"] and "1 line without an image" in output
    Path("t.csv").write_text("a,x9\n")
    assert "b has no label in t.csv (1 of 2" in refuse(str(path), "--labels=t.csv")


LONG = "1" * 400
ABSURD = {
    "10**30": (f"[['a.png', {10**30}], ['b.png', 0]]", f"the label of a.png is {10**30}"),
    "400 digits": (f"[['a.png', 0], ['b.png', {LONG}]]", "the label of b.png is 1111"),
    "5000 digits": (f"[['a.png', {'1' * 5000}], ['b.png', 0]]", "the label of a.png is 1111"),
    "two billion": ("[['a.png', 2000000000], ['b.png', 0]]", "the label of a.png is 2000000000"),
    "the first too many": ("[['a.png', 1048576]]", "the label of a.png is 1048576"),
    "a vector of 400 digits": (f"[['a.png', [0, {LONG}]]]", "the label of a.png is [0, 1111"),
    "a vector of 5000 digits": (f"[['a.png', [{'1' * 5000}]]]", "the label of a.png is"),
    "more than float32": ("[['a.png', [1, 1e39]]]", "with 1e+39 in place 2"),
    "rounded beyond float32": ("[['a.png', [3.40282357e38]]]", "the label of a.png is"),
    "not a number": ("[['a.png', [0, NaN, 1]]]", "with nan in place 2"),
    "infinity": ("[['a.png', [-Infinity]]]", "the label of a.png is [-inf]"),
    "a deep nest": (f"[['a.png', {'[' * 500}{']' * 500}]]", "the label of a.png is [["),
    "a nest without bottom": (f"[['a.png', {'[' * 50000}", "nested too deeply"),
    "two classes": ("[['a.png', 0], ['a.png', 1]]", "a.png is there twice, with 0 and 1"),
    "a number for a name": ("[[7, 0]]", "expected"),
    "a control character": (r"[['a\u001b[31m.png', -1]]", r"the label of a\x1b[31m.png is -1"),
}


@pytest.mark.parametrize("where", ["dataset.json", "t.json"])
@pytest.mark.parametrize("case", ABSURD)
def test_absurd_labels_end_in_one_line_that_names_them(case, where):
    entries, message = ABSURD[case]
    text = f'{{"labels": {entries}}}'.replace("'", '"')
    source = make_source(["a.png", "b.png"], text if where == "dataset.json" else None)
    Path("t.json").write_text(text)
    output = refuse(source, *([] if where == "dataset.json" else ["--labels=t.json"]))
    assert message in output
    assert where in output and len(output) < 600
    if where == "dataset.json":
        assert "--labels=none leaves all labels out" in output
        with pytest.raises(ValueError) as info:
            _ = ImageFolderDataset(source, use_labels=True).label_shape
        assert output.startswith(f"Error: {info.value}; --labels=none")


@pytest.mark.parametrize("digits", ["2000000000", "1" * 100, "1" * 5000])
def test_absurd_classes_in_tables_end_in_one_line(digits):
    Path("t.csv").write_text(f"a.png,{digits}\nb.png,0\n")
    output = refuse(make_source(["a.png", "b.png"]), "--labels=t.csv")
    assert f"the label of a.png is {digits[:15]}" in output and len(output) < 600


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"a.png": 0, "b.png": 1, "a.png": 1}', "a.png is there twice, with 0 and 1"),
        ('{"a.png": "x", "b.png": 1}', "the label of a.png is 'x'"),
        ('{"a.png": "x", "b.png": 11111111111111111111111111111111111111}', "the label of a.png"),
    ],
)
def test_ambiguous_files_of_labels_are_refused(text, message):
    Path("t.json").write_text(text)
    assert message in refuse(make_source(["a.png", "b.png"]), "--labels=t.json")


def test_largest_labels_that_can_be():
    text = as_json(("a.png", 2**20 - 1), ("b.png", 0))
    labels, _, output = convert(make_source(["a.png", "b.png"], text))
    assert labels == {0: 2**20 - 1, 1: 0}
    assert f"2 classes ({2**20 - 2} lower numbers do not occur)" in output
    text = as_json(("a.png", [3.4028235e38, 10**30]), ("b.png", [0, -1]))
    source = make_source(["a.png", "b.png"], text, "vectors")
    assert convert(source)[0] == {0: [3.4028235e38, 10**30], 1: [0, -1]}
    vector = ImageFolderDataset(source, use_labels=True).get_label(0)
    assert vector.dtype == np.float32 and vector.tolist() == [
        float(np.finfo(np.float32).max), float(np.float32(1e30)),
    ]  # fmt: skip


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="Windows has no such names")
@pytest.mark.parametrize("labels", [None, as_json(("b.png", 0))], ids=["images", "labels"])
def test_names_reach_the_terminal_without_control_characters(labels):
    """As a process of its own: nothing else stands between the name and the terminal."""
    names = ["a\x1b[31m\n\u202ex.png", "b.png", "c\udce9.png"]
    source = Path(os.fsdecode(make_source(["b.png"], labels)))
    for name in (names[0], names[2]):
        (source / name).write_bytes(b"no image")
    options = [[f"--inspect={source}"], [f"--source={source}", "--dest=o.zip"]]
    options += [[*options[1], "--on-error=skip"], [f"--source={source}", "--dest=p.zip"]]
    options[3] += ["--labels=folders"]
    (source / "d\x1b]").mkdir()
    (source / "d\x1b]" / "e.png").write_bytes(png(0))
    for args in options:
        done = subprocess.run(
            [sys.executable, dataset_tool.__file__, *args], capture_output=True, timeout=120
        )
        output = (done.stdout + done.stderr).decode("utf-8", "surrogateescape")
        assert "Traceback" not in output
        assert all(c == "\n" or c.isprintable() for c in output.replace("\r", "")), output
        assert r"a\x1b[31m\n\u202ex.png" in output or "--labels=folders" in args
