from __future__ import annotations

import math
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from featcli.data.naming.listing import ListedImage, Listing
from featcli.data.naming.manifest import Manifest, list_manifest, read_manifest
from featcli.data.naming.source import DataOptionError
from featcli.errors import ConfigError, EnvironmentFault
from featcli.events import Event, Note, ignore

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
    assert read("path,width,label,\n1,640,a,\n2,640,b,\n")[1] == ["labels.csv: columns that are not used: 'width', ''"]
    assert read(f"path,label,{many}\n1,a{',' * 12}\n")[1] == [
        "labels.csv: columns that are not used: 'c0', 'c1', 'c2', 'c3', 'c4', 'c5', 'c6', 'c7', 'c8', 'c9' and 2 more"
    ]


def test_equal_lines_count_once() -> None:
    manifest, notes = read("path,label\na.jpg,cat\nb.jpg,dog\n./a.jpg,cat\nb.jpg,dog\na.jpg,cat\n")
    assert [(os.path.basename(entry.path), entry.line) for entry in manifest.entries] == [("a.jpg", 2), ("b.jpg", 3)]
    assert notes == [
        "labels.csv: lines that repeat an earlier one and are left out (3); the first: line 4 repeats line 2"
    ]


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
            ["1: no column 'path'; there are 'a.jpg', 'cat'", "1: no column 'label'; there are 'a.jpg', 'cat'"],
        ),
        ("Path,label\n", ["1: no column 'path'; did you mean 'Path'?"]),
        ("file,label\n", ["1: no column 'path'; there are 'file', 'label'"]),
        ("path;label\n", ["1: cells are separated by semicolons, where commas are expected"]),
        ("path\tlabel\n", ["1: cells are separated by tabs, where commas are expected"]),
        ("\n\npath,labels\n", ["3: no column 'label'; did you mean 'labels'?"]),
        ("path,label,label\n1,2,3\n", ["1: column 'label' is there 2 times"]),
        ("\n\n", ["1: no column 'path'; there are none", "1: no column 'label'; there are none"]),
        ('path,label\n1.jpg,a\n2.jpg,"b\n3.jpg,c\n', ["3: not valid CSV: unexpected end of data"]),
        ('path,label\n1.jpg,\n2.jpg,"b"c\n', ["2: the label is empty", "3: not valid CSV: ',' expected after '\"'"]),
        (b"path,label\n1.jpg,a\ncaf\xe9.jpg,b\n", ["3: not UTF-8 text (byte 0xe9); save it as UTF-8"]),
        ("path,label\n".encode("utf-16"), ["1: UTF-16, not UTF-8; save it as UTF-8"]),
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


def parquet(**columns: list[Any]) -> bytes:
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


def test_parquet_without_the_columns_or_damaged() -> None:
    with pytest.raises(ConfigError) as error:
        read(parquet(file=["a"], label=["b"]), "labels.parquet")
    assert error.value.problems == ("labels.parquet:1: no column 'path'; there are 'file', 'label'",)
    with pytest.raises(DataOptionError, match=r"/labels\.parquet is not a Parquet file that can be read: "):
        read(b"path,label\n", "labels.parquet")


def test_parquet_without_pyarrow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(EnvironmentFault, match="Parquet needs pyarrow") as error:
        read(b"PAR1", "labels.parquet")
    assert error.value.hint == "Install it: pip install 'featcli[parquet]'"
