from __future__ import annotations

import math
import os
import sys
from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from featcli.data.naming.listing import ListedImage, Listing
from featcli.data.naming.manifest import Manifest, describe_missing, list_manifest, read_manifest
from featcli.data.naming.source import DataOptionError
from featcli.errors import ConfigError, EnvironmentFault
from featcli.events import Event, Note, Warn, ignore

IMAGES_WITHIN = (
    "where text is expected; images within a table are not read: write them to files, and their paths into the table"
)
SAVE = "Save it as CSV: the line path,label, then a line for each image."
SPLITS = "the splits are train (or training), val (valid, validation, dev) and test (testing, evaluation)"


@pytest.fixture(autouse=True)
def _in_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def read(content: str | bytes, name: str = "labels.csv") -> tuple[Manifest, list[str]]:
    file = Path.cwd() / name
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    events: list[Event] = []
    manifest = read_manifest(file, events.append)
    assert all(isinstance(event, Note) for event in events)
    return manifest, [event.text for event in events if isinstance(event, Note)]


def refused(content: str | bytes) -> list[str]:
    with pytest.raises(ConfigError) as error:
        read(content)
    return list(error.value.problems)


def rows(manifest: Manifest) -> list[tuple[str, str, str, str | None]]:
    return [(os.path.relpath(entry.path), entry.label, entry.split, entry.group) for entry in manifest.entries]


def listed(content: str) -> Listing:
    return list_manifest(read(content)[0], Path.cwd() / "labels.csv", list)


# What is read


def test_paths_are_relative_to_the_manifest_and_in_its_order() -> None:
    manifest, notes = read("path,label\nz/2.jpg,dog\n./a.jpg,cat\n../up.jpg,cat\n/abs/1.jpg,dog\n")
    assert [entry.path for entry in manifest.entries] == [
        f"{Path.cwd()}/z/2.jpg", f"{Path.cwd()}/a.jpg", f"{Path.cwd()}/../up.jpg", "/abs/1.jpg",
    ]  # fmt: skip
    assert [entry.line for entry in manifest.entries] == [2, 3, 4, 5]
    assert (manifest.has_groups, notes) == (False, [])


@pytest.mark.parametrize(
    "content",
    [
        b"\xef\xbb\xbfpath,label\n\xc3\xa9.jpg,cat\nb c.jpg,dog\n",
        b"path,label\r\n\xc3\xa9.jpg,cat\r\n\r\nb c.jpg,dog",
        b"path,label\r\xc3\xa9.jpg,cat\rb c.jpg,dog\r",
        b'\n label , path \n"cat","\xc3\xa9.jpg"\n dog ,b c.jpg\n\n\n',
    ],
    ids=["bom", "crlf", "cr", "columns in another order"],
)
def test_ways_to_write_the_same_table(content: bytes) -> None:
    assert rows(read(content)[0]) == [("é.jpg", "cat", "train", None), ("b c.jpg", "dog", "train", None)]


def test_splits_and_groups() -> None:
    text = "path,group,label,split\n1,p1,cat,Train\n2,p1,cat,val\n3,,cat,VALID\n4,p 2,cat,validation\n5,p1,cat, test\n"
    manifest, notes = read(text)
    assert [(entry.split, entry.group) for entry in manifest.entries] == [
        ("train", "p1"), ("val", "p1"), ("val", None), ("val", "p 2"), ("test", "p1"),
    ]  # fmt: skip
    assert manifest.has_groups
    assert notes == ["labels.csv: 1 of 5 images have no group; each counts by itself"]


def test_an_empty_column_of_splits_says_nothing() -> None:
    assert {entry.split for entry in read("path,label,split\n1,a,\n2,b, \n")[0].entries} == {"train"}


def test_a_cell_in_quotes_may_hold_commas_quotes_and_line_ends() -> None:
    manifest, _ = read('path,label\n"a,""1""\n.jpg",cat\nb.jpg,dog\n')
    assert [(entry.path, entry.line) for entry in manifest.entries] == [
        (f'{Path.cwd()}/a,"1"\n.jpg', 2), (f"{Path.cwd()}/b.jpg", 4),
    ]  # fmt: skip


def test_other_columns_are_named_once() -> None:
    many = ",".join(f"c{index}" for index in range(12))
    assert read("path,width,label,,\n1,640,a,,\n2,640,b,,\n")[1] == [
        "labels.csv: columns that are not used: 'width', one without a name"
    ]
    assert read(f"path,label,{many}\n1,a{',' * 12}\n")[1] == [
        "labels.csv: columns that are not used: 'c0', 'c1', 'c2', 'c3', 'c4', 'c5', 'c6', 'c7', 'c8', 'c9' and 2 more"
    ]


def test_equal_lines_count_once() -> None:
    manifest, notes = read("path,label\na.jpg,cat\nb.jpg,dog\n./a.jpg,cat\nb.jpg,dog\na.jpg,cat\n")
    assert [(os.path.basename(entry.path), entry.line) for entry in manifest.entries] == [("a.jpg", 2), ("b.jpg", 3)]
    assert notes == [
        "labels.csv: lines that repeat an earlier one and are left out (3); the first: line 4 repeats line 2"
    ]


@pytest.mark.parametrize(
    ("header", "taken"),
    [
        ("Path,LABEL", "'Path' is path, 'LABEL' is label"),
        ("filename,class", "'filename' is path, 'class' is label"),
        ("file_name,Target", "'file_name' is path, 'Target' is label"),
        ("Image Path,category", "'Image Path' is path, 'category' is label"),
    ],
)
def test_columns_by_another_name_are_taken_aloud(header: str, taken: str) -> None:
    manifest, notes = read(f"{header}\na.jpg,cat\n")
    assert rows(manifest) == [("a.jpg", "cat", "train", None)]
    assert notes == [f"labels.csv: columns that are taken by another name: {taken}"]


def test_a_column_by_its_own_name_goes_before_others() -> None:
    manifest, notes = read("filename,path,class,label,Split\nx.jpg,a.jpg,dog,cat,Testing\n")
    assert rows(manifest) == [("a.jpg", "cat", "test", None)]
    assert notes == [
        "labels.csv: columns that are taken by another name: 'Split' is split",
        "labels.csv: columns that are not used: 'filename', 'class'",
    ]


def test_lines_that_a_spreadsheet_leaves_empty() -> None:
    manifest, notes = read("path,label,\na.jpg,cat,,\n,,\n , \nb.jpg,dog,\n,,,,\n")
    assert [(entry.label, entry.line) for entry in manifest.entries] == [("cat", 2), ("dog", 5)]
    assert notes == [
        "labels.csv: empty lines that are left out: 3",
        "labels.csv: columns that are not used: one without a name",
    ]


def test_blanks_after_a_comma_and_around_quotes() -> None:
    manifest, notes = read('path, label\n"a.jpg", "cat"\nb.jpg, dog \n')
    assert rows(manifest) == [("a.jpg", "cat", "train", None), ("b.jpg", "dog", "train", None)]
    assert notes == []


def test_paths_are_taken_as_they_are_and_otherwise_as_they_were_meant() -> None:
    for name in ("d/a.jpg", "d/b.jpg", "d/b.jpg ", "d\\c.jpg", "d/c.jpg", "d/caf\u00e9.jpg"):
        Path(name).parent.mkdir(exist_ok=True)
        Path(name).touch()
    text = "path,label\nd\\a.jpg,x\nd/a.jpg ,x\nd/b.jpg ,x\nd\\c.jpg,x\nd/cafe\u0301.jpg,x\nd\\gone.jpg,x\n"
    manifest, notes = read(text)
    assert [path for path, *_ in rows(manifest)] == [
        "d/a.jpg", "d/b.jpg ", "d\\c.jpg", "d/caf\u00e9.jpg", "d\\gone.jpg",
    ]  # fmt: skip
    assert notes == [
        "labels.csv: blanks around a path that are left out: 1",
        "labels.csv: backslashes in a path that are taken for slashes: 1",
        "labels.csv: lines that repeat an earlier one and are left out (1); the first: line 3 repeats line 2",
    ]


def test_accents_of_labels_and_groups_are_composed() -> None:
    manifest, _ = read("path,label,group\n1,cafe\u0301,Jose\u0301\n2,caf\u00e9,Jos\u00e9\n")
    assert {(entry.label, entry.group) for entry in manifest.entries} == {("caf\u00e9", "Jos\u00e9")}


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("img/1", "line 2: 'img/1'; did you mean 'img/1.jpg'?"),
        ("img/1.JPEG", "line 2: 'img/1.JPEG'; did you mean 'img/1.jpg'?"),
        ("'img/1.jpg'", "line 2: ''img/1.jpg''; did you mean 'img/1.jpg'?"),
        ("1.jpg", "line 2: '1.jpg'; did you mean 'img/1.jpg'?"),
        ("lists/img/1.jpg", "line 2: 'lists/img/1.jpg'; did you mean 'img/1.jpg'?"),
        (
            "C:\\img\\7.jpg",
            "line 2: 'C:\\img\\7.jpg': a path of Windows? Write it with slashes, as seen from the manifest's folder",
        ),
        ("C:\\Users\\me\\IMG\\1.JPG", "line 2: 'C:\\Users\\me\\IMG\\1.JPG'; did you mean 'img/1.jpg'?"),
        ("/content/drive/img/1.jpg", "line 2: '/content/drive/img/1.jpg'; did you mean 'img/1.jpg'?"),
        (
            "/content/img/7.jpg",
            "line 2: '/content/img/7.jpg': a path of another machine? Write it as seen from the manifest's folder",
        ),
        (
            "https://example.org/7.jpg",
            "line 2: 'https://example.org/7.jpg': a URL: fetch the images, and write where they lie",
        ),
        ("IMG/1.JPG", "line 2: 'IMG/1.JPG'; did you mean 'img/1.jpg'?"),
        ("1", "line 2: '1'; did you mean 'img/1.jpg'?"),
        ("img/photo-2.jpg", "line 2: 'img/photo-2.jpg'; did you mean 'photo_2.jpg'?"),
        ("gone.jpg", "line 2: 'gone.jpg', seen from {here}"),
    ],
)
def test_paths_that_name_no_file_are_said_with_the_file_that_was_meant(written: str, said: str, tmp_path: Path) -> None:
    here = tmp_path / "lists"
    for name in ("img/1.jpg", "img/photo_2.jpg"):
        (here / name).parent.mkdir(parents=True, exist_ok=True)
        (here / name).touch()
    file = here / "labels.csv"
    file.write_text(f"path,label\n{written},a\nimg/1.jpg,b\n")
    events: list[Event] = []
    entries = read_manifest(file, ignore).entries
    describe_missing(entries, len(entries), file, events.append)
    assert events == [Warn(f"lists/labels.csv: of 2 paths one names no file; {said.format(here=here)}")]
    describe_missing(entries[1:], 2, file, ignore_nothing)


def ignore_nothing(event: Event) -> None:
    raise AssertionError(event)


# What is wrong


def test_what_is_wrong_with_lines_is_said_at_once() -> None:
    text = (
        "path,label,split\n,cat,train\na.jpg,,val\nb.jpg,cat,vall\nc.jpg,cat,\nd.jpg,cat\n ,,live\ne\0.jpg,cat,test\n"
    )
    assert refused(text) == [
        "labels.csv:2: the path is empty",
        "labels.csv:3: the label is empty",
        f"labels.csv:4: unknown split 'vall'; did you mean 'val'?; {SPLITS}",
        "labels.csv:5: the split is empty, while other lines have one; give it to all lines or to none",
        "labels.csv:6: 2 cells, where the header has 3",
        "labels.csv:7: the path is empty",
        "labels.csv:7: the label is empty",
        f"labels.csv:7: unknown split 'live'; {SPLITS}",
        "labels.csv:8: the path holds a NUL",
    ]


def test_the_first_twenty_problems() -> None:
    lines = refused("path,label\n" + "".join(f"{index}.jpg,\n" for index in range(50)))
    assert lines == [f"labels.csv:{line}: the label is empty" for line in range(2, 22)] + ["labels.csv: and 30 more"]
    assert len(refused("path,label\n" + "".join(f"{index}.jpg,\n" for index in range(20)))) == 20


def test_lines_that_contradict_each_other_are_both_named() -> None:
    here = Path.cwd()
    text = "path,label,split,group\na.jpg,cat,train,\nb.jpg,cat,val,p\na.jpg,dog,train,\nb.jpg,cat,test,q\n"
    text += "a.jpg,cat,train,p\n"
    assert refused(text) == [
        f"labels.csv:4: {here}/a.jpg has the label 'dog' here and 'cat' on line 2; keep one of the lines",
        f"labels.csv:5: {here}/b.jpg has the split 'test' here and 'val' on line 3; keep one of the lines",
        f"labels.csv:5: {here}/b.jpg has the group 'q' here and 'p' on line 3; keep one of the lines",
        f"labels.csv:6: {here}/a.jpg has the group 'p' here and 'none' on line 2; keep one of the lines",
    ]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            "a.jpg,cat\nb.jpg,dog\n",
            ["1: no header: 'a.jpg' names an image; begin the file with the line path,label"],
        ),
        ("paths,label\n", ["1: no column 'path'; did you mean 'paths'?"]),
        (
            "image_id,label\n",
            [
                "1: no column 'path'; there are 'image_id', 'label'. 'image_id' may be a part of each file's name: "
                "make it a column path, as in train/ID.jpg"
            ],
        ),
        ("a;b\n1;2\n", [f"1: no column '{name}'; there are 'a', 'b'" for name in ("path", "label")]),
        ("image,File,label\n", ["1: no column 'path'; did you mean 'image' or 'File'?"]),
        ("\n\npath,lable\n", ["3: no column 'label'; did you mean 'lable'?"]),
        ("path,label,label\n1,2,3\n", ["1: column 'label' is there 2 times"]),
        ("\n\n", ["1: no column 'path'; there are none", "1: no column 'label'; there are none"]),
        ('path,label\n1.jpg,a\n2.jpg,"b\n3.jpg,c\n', ["3: not valid CSV: unexpected end of data"]),
        ('path,label\n1.jpg,\n2.jpg,"b"c\n', ["2: the label is empty", "3: not valid CSV: ',' expected after '\"'"]),
        (b"path,label\n1.jpg,a\ncaf\xe9.jpg,b\n", ["3: not UTF-8 text (byte 0xe9); save it as UTF-8"]),
        ("path,label\n", [" no images: there is a header, but no line below it"]),
    ],
)  # fmt: skip
def test_tables_that_cannot_be_read(content: str | bytes, message: Sequence[str]) -> None:
    assert refused(content) == [f"labels.csv:{line}" for line in message]


def test_a_file_that_is_not_there_or_not_a_file() -> None:
    here = Path.cwd()
    (here / "labels.csv").write_text("")
    (here / "folder.csv").mkdir()
    for name, message in {
        "label.csv": f"no such file: {here}/label.csv; did you mean 'labels.csv'?",
        "nowhere/x.csv": f"no such file: {here}/nowhere/x.csv",
        "labels.csv": f"{here}/labels.csv cannot be read: the file is empty",
        "folder.csv": f"{here}/folder.csv cannot be read: is a folder",
        "gone.parquet": f"no such file: {here}/gone.parquet",
    }.items():
        with pytest.raises(DataOptionError) as error:
            read_manifest(here / name, ignore)
        assert (error.value.option, error.value.message) == ("manifest", message)


def test_a_file_elsewhere_is_named_in_full(tmp_path_factory: pytest.TempPathFactory) -> None:
    file = tmp_path_factory.mktemp("elsewhere") / "labels.csv"
    file.write_text("path,label\na,\n")
    with pytest.raises(ConfigError) as error:
        read_manifest(file, ignore)
    assert error.value.problems == (f"{file}:2: the label is empty",)


# As programs write them


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-le"])
@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("path,label\r\na.jpg,r\u00f4le\r\n", None),
        ("path;label\na,1.jpg;r\u00f4le\n", "semicolons"),
        ("label;path;\nr\u00f4le;a.jpg;\n", "semicolons"),
        ('sep=;\r\n"path";"label"\r\na.jpg;r\u00f4le\r\n', "semicolons"),
        ("sep=,\npath,label\na.jpg,r\u00f4le\n", None),
        ("path\tlabel\na.jpg\tr\u00f4le\n", "tabs"),
        ("Label|File Name\nr\u00f4le|a.jpg\n", "vertical bars"),
    ],
)
def test_tables_of_any_separator_and_encoding(text: str, words: str | None, encoding: str) -> None:
    manifest, notes = read(text.encode(encoding))
    assert [(entry.path.endswith(".jpg"), entry.label) for entry in manifest.entries] == [(True, "r\u00f4le")]
    assert [note for note in notes if "separated" in note] == (
        [] if words is None else [f"labels.csv: cells are separated by {words}"]
    )


# Classes


def test_classes_are_those_of_train_by_code_point() -> None:
    text = "path,label,split\n1,b,train\n2,é,train\n3,10,train\n4,2,train\n5,B,train\n6,b,val\n"
    assert listed(text).classes == ("10", "2", "B", "b", "é")
    assert listed(text).splits == {"train", "val"}
    assert listed("path,label\n1,b\n2,a\n").splits == {"train"}


def test_classes_that_were_not_trained() -> None:
    text = "path,label,split\n1,cats,train\n2,dogs,train\n3,cat,val\n4,cat,val\n5,emus,test\n6,cat,test\n"
    with pytest.raises(ConfigError) as error:
        listed(text)
    assert error.value.problems == (
        "labels.csv:4: class 'cat' of val is not in train; did you mean 'cats'?",
        "labels.csv:6: class 'emus' of test is not in train",
    )


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        (
            "path,label\n1,a\n2,a\n",
            "labels.csv holds one class, 'a'; a classifier needs at least two to train on",
            None,
        ),
        ("path,label,split\n1,a,val\n", "labels.csv has no images to train on", "Give some lines the split train."),
    ],
)
def test_too_few_classes(text: str, message: str, hint: str | None) -> None:
    with pytest.raises(DataOptionError) as error:
        listed(text)
    assert (error.value.option, error.value.message, error.value.hint) == ("manifest", message, hint)


def test_what_is_left_out_is_no_class() -> None:
    def without_c(entries: Sequence[ListedImage]) -> list[ListedImage]:
        return [entry for entry in entries if entry.label != "c"]

    manifest, _ = read("path,label,split\n1,a,train\n2,b,train\n3,c,train\n4,c,val\n")
    listing = list_manifest(manifest, Path("labels.csv"), without_c)
    assert (listing.classes, len(listing.entries), listing.excluded) == (("a", "b"), 2, 2)
    assert listing.splits == {"train", "val"}, "the user's splits, though one of them is empty now"


# Parquet


def parquet(**columns: Any) -> bytes:
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    parquet.write_table(pyarrow.table(columns), "made.parquet")
    return Path("made.parquet").read_bytes()


def test_parquet_is_read_as_csv_is() -> None:
    content = parquet(width=[1, 2, 3], label=[0, 1, None], path=["é.jpg", "b.jpg", "c.jpg"], group=[math.nan, 1.5, 2])
    with pytest.raises(ConfigError) as error:
        read(content, "labels.parquet")
    assert error.value.problems == ("labels.parquet:4: the label is empty",)
    content = parquet(path=["é.jpg", "b.jpg"], label=[0, 10], group=[None, "p"], split=["train", "VAL"], x=[1, 2])
    manifest, notes = read(content, "Labels.PARQUET")
    assert rows(manifest) == [("é.jpg", "0", "train", None), ("b.jpg", "10", "val", "p")]
    assert notes == [
        "Labels.PARQUET: columns that are not used: 'x'",
        "Labels.PARQUET: 1 of 2 images have no group; each counts by itself",
    ]


def test_parquet_of_bytes_whole_floats_and_nothing() -> None:
    content = parquet(
        path=["é.jpg".encode(), b"b.jpg", None], label=[b"cat", "é".encode(), None], group=[1.0, math.nan, 2.0]
    )
    with pytest.raises(ConfigError) as error:
        read(content, "labels.parquet")
    assert error.value.problems == (
        "labels.parquet:4: the path is empty", "labels.parquet:4: the label is empty",
    )  # fmt: skip
    content = parquet(
        path=[b"\xc3\xa9.jpg", b"b.jpg", None],
        label=[b"cat", "é".encode(), None],
        split=["train", b"val".decode(), None],
    )
    manifest, notes = read(content, "labels.parquet")
    assert rows(manifest) == [("é.jpg", "cat", "train", None), ("b.jpg", "é", "val", None)]
    assert notes == ["labels.parquet: empty lines that are left out: 1"]
    for labels, expected in (
        ([0.0, 1.0], ["0", "1"]),
        ([0.0, 1.5], ["0.0", "1.5"]),
        ([Decimal("0.00"), Decimal("2.00")], ["0", "2"]),
        ([False, True], ["False", "True"]),
        ([-1, 10], ["-1", "10"]),
    ):
        manifest, _ = read(parquet(path=["a.jpg", "b.jpg"], label=labels), "labels.parquet")
        assert [entry.label for entry in manifest.entries] == expected


def test_labels_of_a_csv_stay_as_they_are_written() -> None:
    assert [entry.label for entry in read("path,label\n1,0.0\n2,1.0\n3,01\n")[0].entries] == ["0.0", "1.0", "01"]


def test_parquet_of_categories() -> None:
    pyarrow = pytest.importorskip("pyarrow")
    labels = pyarrow.array([b"cat", b"dog"]).dictionary_encode()
    manifest, _ = read(parquet(path=pyarrow.array(["a", "b"]).dictionary_encode(), label=labels), "labels.parquet")
    assert rows(manifest) == [("a", "cat", "train", None), ("b", "dog", "train", None)]


def test_parquet_of_images_in_the_table() -> None:
    with pytest.raises(ConfigError) as error:
        read(parquet(image=[{"bytes": b"x", "path": "a.jpg"}], label=[1]), "labels.parquet")
    assert error.value.problems == (
        f"labels.parquet:1: column 'image' holds struct<bytes: binary, path: string>, {IMAGES_WITHIN}",
    )
    with pytest.raises(ConfigError) as error:
        read(parquet(image=[b"\x89PNG\0", b"\xff\xd8"], label=[1, 0]), "labels.parquet")
    assert error.value.problems == (f"labels.parquet:1: column 'image' holds bytes, {IMAGES_WITHIN}",)


def test_parquet_without_the_columns_or_damaged() -> None:
    with pytest.raises(ConfigError) as error:
        read(parquet(id=["a"], label=["b"]), "labels.parquet")
    assert error.value.problems[0].startswith("labels.parquet:1: no column 'path'; there are 'id', 'label'. 'id' may")
    with pytest.raises(DataOptionError, match=r"/labels\.parquet is not a Parquet file that can be read: "):
        read(b"PAR1 and no more", "labels.parquet")


def test_the_content_of_a_table_decides_and_not_its_name() -> None:
    assert rows(read(parquet(path=["a.jpg"], label=["x"]), "labels.csv")[0]) == [("a.jpg", "x", "train", None)]
    assert rows(read("path,label\na.jpg,x\n", "labels.parquet")[0]) == [("a.jpg", "x", "train", None)]


@pytest.mark.parametrize(
    ("content", "what", "hint"),
    [
        (
            b"version https://git-lfs.github.com/spec/v1\n",
            "a Git LFS pointer",
            "Run `git lfs pull` where it was cloned.",
        ),
        (b"<!doctype html><html>", "an HTML page", SAVE),
        (b"PK\3\4[Content_Types].xml", "an office document", SAVE),
        (b"\x1f\x8b\x08", "a gzip archive", SAVE),
        (b'{"path": "a.jpg"}\n', "a JSON document", SAVE),
    ],
)
def test_what_is_no_table_is_named(content: bytes, what: str, hint: str) -> None:
    with pytest.raises(DataOptionError) as error:
        read(content)
    assert error.value.message == f"{Path.cwd()}/labels.csv is {what}, not a CSV or Parquet table"
    assert error.value.hint == hint


def test_parquet_without_pyarrow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(EnvironmentFault, match="Parquet needs pyarrow") as error:
        read(b"PAR1", "labels.parquet")
    assert error.value.hint == "Install it: pip install 'featcli[parquet]'"
