from __future__ import annotations

import hashlib
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from featcli.data.dataset import Dataset, Sample, fingerprint, open_dataset, open_labelled
from featcli.data.naming.source import DataOptionError, DataSource
from featcli.errors import DatasetError
from featcli.events import Emit, Event, Note, Progress, Warn, ignore

MakeFolder = Callable[..., Path]


def opened(root: Path | None, *, seed: int = 0, workers: int = 2, emit: Emit = ignore, **source: Any) -> Dataset:
    return open_dataset(
        DataSource(**{"root": root, "val_fraction": 0.2} | source), seed=seed, workers=workers, emit=emit
    )


def write(root: Path, files: dict[str, str]) -> Path:
    """Files with these contents: a data set is listed and hashed without looking at pixels."""
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    return root


def class_files(folder: str, count: int) -> dict[str, str]:
    prefix = f"{folder}/" if folder else ""
    return {f"{prefix}{index:02d}.jpg": f"{folder} {index}" for index in range(count)}


def places(data: Dataset) -> list[tuple[str, str, str]]:
    return [
        (sample.split, data.classes[sample.label], str(Path(sample.path).relative_to(data.root)))
        for sample in data.samples
    ]


# Layouts


def test_class_folders_are_split_exactly_as_the_rule_says(tmp_path: Path) -> None:
    data = opened(write(tmp_path, class_files("cat", 10) | class_files("dog", 25)), test_fraction=0.1)
    assert data.classes == ("cat", "dog")
    assert data.counts() == {"train": [7, 18], "val": [2, 5], "test": [1, 2]}
    assert data.rule == {"made_by": "hash", "seed": 0, "version": 2, "val_fraction": 0.2, "test_fraction": 0.1}
    units = {
        sample.path: hashlib.sha256(f"0:{hashlib.sha256(Path(sample.path).read_bytes()).hexdigest()}".encode()).digest()
        for sample in data.samples
    }
    cats = sorted((sample for sample in data.samples if sample.label == 0), key=lambda sample: units[sample.path])
    assert [sample.split for sample in cats] == ["val"] * 2 + ["test"] + ["train"] * 7


def test_samples_come_in_split_order_then_folder_order(tmp_path: Path) -> None:
    data = opened(write(tmp_path, class_files("cat", 10) | class_files("dog", 10)), test_fraction=0.2)
    keys = [(("train", "val", "test").index(split), name, path) for split, name, path in places(data)]
    assert keys == sorted(keys)


def test_the_users_splits_are_never_altered(tmp_path: Path) -> None:
    files = class_files("train/a", 3) | class_files("train/b", 2) | class_files("val/a", 1) | class_files("test/b", 4)
    data = opened(write(tmp_path, files), val_fraction=0.5, test_fraction=0.4)
    assert data.counts() == {"train": [3, 2], "val": [1, 0], "test": [0, 4]}
    assert all(path.startswith(f"{split}/{name}/") for split, name, path in places(data))
    assert data.rule == {"made_by": "user", "seed": 0}


def test_a_missing_validation_split_is_taken_from_train_alone(tmp_path: Path) -> None:
    files = (
        class_files("train/a", 10) | class_files("train/b", 20) | class_files("test/a", 5) | class_files("test/b", 5)
    )
    data = opened(write(tmp_path, files), test_fraction=0.4)
    assert data.counts() == {"train": [8, 16], "val": [2, 4], "test": [5, 5]}
    assert all(path.startswith("test/") for split, _, path in places(data) if split == "test")
    assert data.rule == {"made_by": "hash", "seed": 0, "version": 2, "val_fraction": 0.2, "test_fraction": 0.0}


@pytest.mark.parametrize("name", ["val", "valid", "validation"])
def test_every_name_of_the_validation_split(tmp_path: Path, name: str) -> None:
    files = class_files("train/a", 2) | class_files("train/b", 2) | class_files(f"{name}/a", 1)
    data = opened(write(tmp_path, files))
    assert data.counts() == {"train": [2, 2], "val": [1, 0]}


@pytest.mark.parametrize("names", [("val", "validation"), ("val", "valid"), ("valid", "validation")])
def test_two_validation_splits_are_one_too_many(tmp_path: Path, names: tuple[str, str]) -> None:
    files = class_files("train/a", 2) | class_files("train/b", 2)
    write(tmp_path, files | class_files(f"{names[0]}/a", 1) | class_files(f"{names[1]}/a", 1))
    with pytest.raises(DatasetError, match=f"holds both {names[0]}/ and {names[1]}/: which one is the val split"):
        opened(tmp_path)


def test_a_class_may_be_called_train(tmp_path: Path) -> None:
    data = opened(write(tmp_path, class_files("train", 5) | class_files("plane", 5)))
    assert data.classes == ("plane", "train")
    assert data.counts() == {"train": [4, 4], "val": [1, 1]}


def test_classes_called_train_and_test(tmp_path: Path) -> None:
    data = opened(write(tmp_path, class_files("train", 5) | class_files("test", 5)))
    assert data.classes == ("test", "train")
    assert data.counts() == {"train": [4, 4], "val": [1, 1]}


def test_hidden_folders_do_not_change_the_layout(tmp_path: Path) -> None:
    files = class_files("train/a", 5) | class_files("train/b", 5) | class_files("val/a", 1)
    write(tmp_path, files | class_files(".ipynb_checkpoints/a", 3) | class_files("train/.ipynb_checkpoints", 3))
    data = opened(tmp_path)
    assert data.classes == ("a", "b")
    assert data.counts() == {"train": [5, 5], "val": [1, 0]}


# Classes


def test_numeric_names_are_sorted_by_code_point(tmp_path: Path) -> None:
    data = opened(write(tmp_path, {f"{name}/a.jpg": name for name in ("1", "2", "10", "9", "B", "a", "é")}))
    assert data.classes == ("1", "10", "2", "9", "B", "a", "é")
    assert all(Path(sample.path).read_text() == data.classes[sample.label] for sample in data.samples)


def test_a_class_missing_from_val_keeps_the_others_indices(tmp_path: Path) -> None:
    files = {f"train/{name}/a.jpg": name for name in "abc"} | {"val/a/v.jpg": "va", "val/c/v.jpg": "vc"}
    data = opened(write(tmp_path, files))
    assert [(sample.label, Path(sample.path).parent.name) for sample in data.split("val")] == [(0, "a"), (2, "c")]
    assert data.counts()["val"] == [1, 0, 1]


def test_a_class_of_val_that_train_lacks_is_an_error(tmp_path: Path) -> None:
    files = class_files("train/ants", 2) | class_files("train/bees", 2) | class_files("val/bee", 1)
    with pytest.raises(DatasetError, match=r"/val holds classes that were not trained: 'bee'; did you mean 'bees'\?"):
        opened(write(tmp_path, files))


def test_one_class_is_not_enough(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="holds one class, 'only'; a classifier needs at least two"):
        opened(write(tmp_path, class_files("only", 5)))


def test_images_without_class_folders(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="holds 3 images but no class folders") as caught:
        opened(write(tmp_path, class_files("", 3)))
    assert caught.value.hint is not None
    assert "ROOT/<class>/..." in caught.value.hint


def test_an_empty_folder(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="holds no class folders and no images"):
        opened(tmp_path)


def test_class_folders_without_images(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"hold no images; skipped: 1 named \*\.txt in a/, 1 hidden in b/\n"):
        opened(write(tmp_path, {"a/x.txt": "", "b/.hidden.jpg": ""}))


def test_a_folder_that_is_not_there_is_named_with_its_neighbour(tmp_path: Path) -> None:
    write(tmp_path, class_files("hymenoptera/a", 1))
    with pytest.raises(DatasetError, match=r"no such folder: .*/hymenopter; did you mean 'hymenoptera'\?"):
        opened(tmp_path / "hymenopter")
    with pytest.raises(DatasetError, match=r"no such folder: .*/nowhere/at/all"):
        opened(tmp_path / "nowhere" / "at" / "all")


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"a\.jpg is a file; data\.root names a folder"):
        opened(write(tmp_path, {"a.jpg": ""}) / "a.jpg")


def test_what_is_passed_over_is_said(tmp_path: Path) -> None:
    files = (
        class_files("a", 2) | class_files("b", 2) | {"a/x.txt": "", "b/.DS_Store": "", "loose.jpg": "", "README": ""}
    )
    assert str(opened(write(tmp_path, files)).ignored) == "2 beside the class folders, 1 hidden, 1 named *.txt"


def test_nested_folders_and_upper_case_endings_belong_to_their_class(tmp_path: Path) -> None:
    files = {"a/2020/may/x.JPG": "1", "a/y.Png": "2", "b/z.jpeg": "3", "b/deep/er/w.TIF": "4"}
    data = opened(write(tmp_path, files), val_fraction=0.0)
    assert [path for _, _, path in places(data)] == ["a/y.Png", "a/2020/may/x.JPG", "b/z.jpeg", "b/deep/er/w.TIF"]
    assert [sample.label for sample in data.samples] == [0, 0, 1, 1]


def test_a_link_back_to_its_own_class_ends(tmp_path: Path) -> None:
    write(tmp_path, class_files("a", 2) | class_files("b", 2))
    (tmp_path / "a" / "again").symlink_to(tmp_path / "a")
    data = opened(tmp_path)
    assert len(data.samples) == 4
    assert str(data.ignored) == "1 links to folders seen already"


# Content


def test_digests_are_of_the_bytes(tmp_path: Path) -> None:
    data = opened(write(tmp_path, class_files("a", 3) | class_files("b", 300)))
    assert [sample.digest for sample in data.samples] == [
        hashlib.sha256(Path(sample.path).read_bytes()).digest() for sample in data.samples
    ]


def test_a_file_that_cannot_be_read_keeps_its_place_without_a_digest(tmp_path: Path) -> None:
    write(tmp_path, class_files("a", 3) | class_files("b", 3))
    (tmp_path / "a" / "zz.jpg").symlink_to("gone")
    data = opened(tmp_path, val_fraction=0.0)
    assert [sample.digest is None for sample in data.samples] == [False] * 3 + [True] + [False] * 3
    assert data.samples[3].unit == str(tmp_path / "a" / "zz.jpg")


def test_identical_content_is_never_separated(tmp_path: Path) -> None:
    files = class_files("a", 20) | class_files("b", 20)
    for index in range(20):
        files[f"a/copy{index}.jpg"] = files[f"a/{index:02d}.jpg"]
    write(tmp_path, files)
    for seed in range(10):
        data = opened(tmp_path, seed=seed, val_fraction=0.3, test_fraction=0.2)
        splits = {}
        for sample in data.samples:
            assert splits.setdefault(sample.digest, sample.split) == sample.split
        assert data.crossings() == []
        assert data.counts() == {"train": [20, 10], "val": [12, 6], "test": [8, 4]}


def test_renaming_a_file_does_not_move_it(tmp_path: Path) -> None:
    write(tmp_path, class_files("a", 20) | class_files("b", 20))
    before = {sample.digest: sample.split for sample in opened(tmp_path).samples}
    for index in range(20):
        (tmp_path / "a" / f"{index:02d}.jpg").rename(tmp_path / "a" / f"renamed{19 - index}.png")
    assert {sample.digest: sample.split for sample in opened(tmp_path).samples} == before


def test_crossings_between_the_users_splits_and_classes_are_found(tmp_path: Path) -> None:
    files = {
        "train/a/1.jpg": "same", "train/a/2.jpg": "other", "train/b/1.jpg": "two labels", "train/a/9.jpg": "two labels",
        "val/a/1.jpg": "same", "val/b/2.jpg": "alone",
    }  # fmt: skip
    data = opened(write(tmp_path, files))
    found = [
        tuple(str(Path(sample.path).relative_to(tmp_path)) for sample in pair) for pair in data.crossings()
    ]  # fmt: skip
    assert found == [("train/a/9.jpg", "train/b/1.jpg"), ("train/a/1.jpg", "val/a/1.jpg")]
    assert len(data.samples) == 6, "they are reported, not removed"


def test_empty_and_unreadable_files_are_no_twins(tmp_path: Path) -> None:
    write(tmp_path, class_files("train/a", 2) | class_files("train/b", 2) | {"train/a/e.jpg": "", "val/a/e.jpg": ""})
    assert opened(tmp_path).crossings() == []


def test_fingerprint_is_of_contents_and_labels_not_of_paths(tmp_path: Path) -> None:
    one = opened(write(tmp_path / "one", class_files("a", 9) | class_files("b", 9)))
    shutil.copytree(tmp_path / "one", tmp_path / "two")
    (tmp_path / "two/a/00.jpg").rename(tmp_path / "two/a/zz.png")
    two = opened(tmp_path / "two")
    assert fingerprint(one.samples) == fingerprint(two.samples) == fingerprint(reversed(two.samples))
    relabelled = [Sample(s.path, 1 - s.label, s.split, s.digest) for s in one.samples]
    assert fingerprint(relabelled) != fingerprint(one.samples)
    assert fingerprint(one.samples[1:]) != fingerprint(one.samples)
    (tmp_path / "two/a/zz.png").write_text("changed")
    assert fingerprint(opened(tmp_path / "two").samples) != fingerprint(one.samples)


def test_limit_takes_the_first_of_each_class_and_split(tmp_path: Path) -> None:
    files = class_files("train/a", 5) | class_files("train/b", 1) | class_files("val/a", 4)
    data = opened(write(tmp_path, files), limit=2)
    assert places(data) == [
        ("train", "a", "train/a/00.jpg"), ("train", "a", "train/a/01.jpg"), ("train", "b", "train/b/00.jpg"),
        ("val", "a", "val/a/00.jpg"), ("val", "a", "val/a/01.jpg"),
    ]  # fmt: skip
    assert data.rule == {"made_by": "user", "seed": 0, "limit": 2}


def test_limit_does_not_move_images_between_splits(tmp_path: Path) -> None:
    write(tmp_path, class_files("a", 20) | class_files("b", 20))
    full = {sample.path: sample.split for sample in opened(tmp_path).samples}
    limited = opened(tmp_path, limit=3)
    assert limited.counts() == {"train": [3, 3], "val": [3, 3]}
    assert all(full[sample.path] == sample.split for sample in limited.samples)


@pytest.mark.parametrize("workers", [1, 4])
def test_workers_change_nothing(tmp_path: Path, workers: int) -> None:
    write(tmp_path, class_files("a", 300) | class_files("b", 300))
    assert opened(tmp_path, workers=workers) == opened(tmp_path, workers=2)


def test_hashing_tells_its_progress(tmp_path: Path) -> None:
    events: list[Event] = []
    opened(write(tmp_path, class_files("a", 200) | class_files("b", 200)), emit=events.append)
    told = [(event.done, event.total, event.finished) for event in events if isinstance(event, Progress)]
    assert told == [(0, 400, False), (256, 400, False), (400, 400, False), (400, 400, True)]


def test_the_folder_is_only_read(tmp_path: Path) -> None:
    write(tmp_path, class_files("a", 5) | class_files("b", 5))
    before = {path: (path.stat().st_mtime_ns, path.stat().st_ctime_ns) for path in tmp_path.rglob("*")}
    opened(tmp_path)
    assert {path: (path.stat().st_mtime_ns, path.stat().st_ctime_ns) for path in tmp_path.rglob("*")} == before


def test_the_photographs(hymenoptera: Path) -> None:
    data = opened(hymenoptera)
    assert data.classes == ("ants", "bees")
    assert data.rule["made_by"] == "user"
    assert sum(len(data.split(split)) for split in ("train", "val")) == len(data.samples)
    listed = Counter(Path(sample.path).relative_to(hymenoptera).parts[:2] for sample in data.samples)
    on_disk = Counter(
        path.relative_to(hymenoptera).parts[:2] for path in hymenoptera.glob("*/*/*") if path.suffix != ".md"
    )
    assert listed == on_disk


# Manifests


def manifest(folder: Path, *lines: str, header: str = "path,label") -> Path:
    """A manifest, and beside it the files that it names, but for those called `gone`."""
    for line in lines:
        name = line.split(",")[0]
        if "gone" not in name:
            write(folder, {name: f"content of {Path(name).name}"})
    write(folder, {"labels.csv": "\n".join((header, *lines)) + "\n"})
    return folder / "labels.csv"


def said(events: list[Event]) -> list[str]:
    return [f"{type(event).__name__}: {event.text}" for event in events if isinstance(event, Note | Warn)]


def test_a_manifest_is_split_as_the_rule_says_and_keeps_its_order(tmp_path: Path) -> None:
    lines = [f"{'zyx'[index % 3]}/{index:02d}.jpg,{'cat' if index % 2 else 'dog'}" for index in range(30)]
    data = opened(None, manifest=manifest(tmp_path, *lines), test_fraction=0.2)
    assert [f"{path},{name}" for _, name, path in places(data)] == lines
    assert data.classes == ("cat", "dog")
    assert data.counts() == {"train": [9, 9], "val": [3, 3], "test": [3, 3]}
    assert data.rule == {
        "made_by": "hash",
        "seed": 0,
        "version": 2,
        "val_fraction": 0.2,
        "test_fraction": 0.2,
        "manifest": True,
    }
    assert (data.root, data.origin, str(data.ignored)) == (tmp_path, tmp_path / "labels.csv", "")
    for label in (0, 1):
        ranked = sorted(
            (sample for sample in data.samples if sample.label == label),
            key=lambda sample: hashlib.sha256(
                f"0:{hashlib.sha256(Path(sample.path).read_bytes()).hexdigest()}".encode()
            ).digest(),
        )
        assert [sample.split for sample in ranked] == ["val"] * 3 + ["test"] * 3 + ["train"] * 9


def test_a_manifest_and_its_folder_give_the_same_splits(tmp_path: Path) -> None:
    write(tmp_path, class_files("cat", 20) | class_files("dog", 20))
    folder = opened(tmp_path, seed=3)
    lines = [f"{path},{name}" for _, name, path in reversed(places(folder))]
    (tmp_path / "labels.csv").write_text("\n".join(["path,label", *lines]))
    table = opened(None, manifest=tmp_path / "labels.csv", seed=3)
    assert sorted(places(table)) == sorted(places(folder))
    assert fingerprint(table.split("val")) == fingerprint(folder.split("val"))


def test_splits_of_a_manifest_are_never_altered(tmp_path: Path) -> None:
    lines = ("1,b,test", "2,a,Train", "3,b,valid", "4,a,TRAIN", "5,b,train", "6,a,validation")
    data = opened(None, manifest=manifest(tmp_path, *lines, header="path,label,split"), val_fraction=0.5)
    assert places(data) == [
        ("test", "b", "1"), ("train", "a", "2"), ("val", "b", "3"), ("train", "a", "4"), ("train", "b", "5"),
        ("val", "a", "6"),
    ]  # fmt: skip
    assert data.rule == {"made_by": "user", "seed": 0, "manifest": True}


def test_a_manifest_without_val_gets_it_from_train_alone(tmp_path: Path) -> None:
    lines = [f"{index},{'ab'[index % 2]},{'test' if index >= 20 else 'train'}" for index in range(30)]
    data = opened(None, manifest=manifest(tmp_path, *lines, header="path,label,split"), test_fraction=0.4)
    assert data.counts() == {"train": [8, 8], "val": [2, 2], "test": [5, 5]}
    assert [int(path) for split, _, path in places(data) if split == "test"] == list(range(20, 30))
    assert [int(path) for _, _, path in places(data)] == list(range(30))
    assert data.rule["test_fraction"] == 0.0


def test_a_missing_file_of_a_manifest_keeps_its_row(tmp_path: Path) -> None:
    file = manifest(tmp_path, "1,a", "gone.jpg,a", "2,b", "sub,b")
    (tmp_path / "sub").unlink()
    (tmp_path / "sub").mkdir()
    data = opened(None, manifest=file, val_fraction=0.0)
    assert [(Path(sample.path).name, sample.digest is None) for sample in data.samples] == [
        ("1", False), ("gone.jpg", True), ("2", False), ("sub", True),
    ]  # fmt: skip


# Groups


def test_groups_stay_on_one_side(tmp_path: Path) -> None:
    files = {
        f"{'ab'[image % 2]}/p{patient}_{image}.jpg": f"{patient} {image}" for patient in range(30) for image in range(6)
    }
    write(tmp_path, files)
    for seed in range(5):
        data = opened(tmp_path, seed=seed, group=r"([^/]+)_", val_fraction=0.3, test_fraction=0.2)
        assert all(Path(sample.path).name.startswith(f"{sample.group}_") for sample in data.samples)
        sides = {(sample.group, sample.split) for sample in data.samples}
        assert len(sides) == 30
        assert data.counts() == {"train": [45, 45], "val": [27, 27], "test": [18, 18]}
        # The order is that of sha256(seed + group): nine groups of 3 + 3 fill 27 + 27 places, the next six 18 + 18.
        ranked = sorted(
            {f"p{n}" for n in range(30)}, key=lambda name: hashlib.sha256(f"{seed}:{name}".encode()).digest()
        )
        assert [dict(sides)[name] for name in ranked] == ["val"] * 9 + ["test"] * 6 + ["train"] * 15
        assert data.rule == {
            "made_by": "hash", "seed": seed, "version": 2, "val_fraction": 0.3, "test_fraction": 0.2, "grouped": True
        }  # fmt: skip


def test_the_path_that_is_searched_begins_at_the_root(tmp_path: Path) -> None:
    write(tmp_path / "x_", {f"{name}/{index}_.jpg": f"{name} {index}" for name in "ab" for index in range(3)})
    data = opened(tmp_path / "x_", group=r"^(.*)_")
    assert [sample.group for sample in data.samples[:2]] == [
        str(Path(sample.path).relative_to(tmp_path / "x_")).removesuffix("_.jpg") for sample in data.samples[:2]
    ]
    with pytest.raises(DataOptionError, match=r"finds no group in 3 of 6 images: a/0_\.jpg, a/1_\.jpg, a/2_\.jpg\n"):
        opened(tmp_path / "x_", group=r"(b)/")


@pytest.mark.parametrize("root", ["caf\u00e9", "cafe\u0301"])
@pytest.mark.parametrize("pattern", ["(jos\u00e9)_", "(jose\u0301)_"])
def test_accents_may_be_written_in_either_way(tmp_path: Path, root: str, pattern: str) -> None:
    files = {f"a/jose\u0301_{index}.jpg": str(index) for index in range(4)}
    files |= {f"b/jos\u00e9_{index}.jpg": f"b{index}" for index in range(4)}
    write(tmp_path / "caf\u00e9", files)
    data = opened(tmp_path / root, group=pattern, val_fraction=0.0)
    assert {sample.group for sample in data.samples} == {"jos\u00e9"}
    assert (data.root, len(data.samples)) == (tmp_path / "caf\u00e9", 8)


def test_a_manifest_whose_paths_name_no_file_is_warned_of(tmp_path: Path) -> None:
    write(tmp_path, {"img/gone1.jpg": "1"})
    file = manifest(tmp_path, "img/0.jpg,a", "img/gone1,a", "img/gone2,b")
    events: list[Event] = []
    data = opened(None, manifest=file, emit=events.append)
    assert [event.text for event in events if isinstance(event, Warn)] == [
        f"{file}: 2 of 3 paths name no file; line 3: 'img/gone1'; did you mean 'img/gone1.jpg'?"
    ]
    assert len(data.samples) == 3


def test_groups_that_share_an_image_stay_together(tmp_path: Path) -> None:
    files = {
        f"{'ab'[image % 2]}/p{patient}_{image}.jpg": f"{patient} {image}" for patient in range(20) for image in range(4)
    }
    for patient in range(0, 20, 2):  # p0 and p1 share an image, p2 and p3, ...
        files[f"a/p{patient + 1}_9.jpg"] = files[f"a/p{patient}_0.jpg"]
    write(tmp_path, files)
    for seed in range(5):
        data = opened(tmp_path, seed=seed, group=r"([^/]+)_", val_fraction=0.4)
        split_of = {sample.group: sample.split for sample in data.samples}
        assert all(split_of[f"p{patient}"] == split_of[f"p{patient + 1}"] for patient in range(0, 20, 2))
        assert (data.crossings(), data.divided_groups()) == ([], [])
        assert {sample.split for sample in data.samples} == {"train", "val"}
    assert {(sample.group, sample.unit) for sample in data.samples} == {
        (f"p{patient}", min(f"p{patient // 2 * 2}", f"p{patient // 2 * 2 + 1}")) for patient in range(20)
    }
    assert [(one.group, other.group) for one, other in data.shared_between_groups()]
    assert len(data.shared_between_groups()) == 10


def test_the_column_of_a_manifest_is_used_by_itself(tmp_path: Path) -> None:
    lines = [f"{index}.jpg,{'ab'[index % 2]},p{index // 4}" for index in range(40)] + ["alone.jpg,a,"]
    file = manifest(tmp_path, *lines, header="path,label,group")
    data = opened(None, manifest=file, val_fraction=0.3)
    assert [sample.group for sample in data.samples] == [f"p{index // 4}" for index in range(40)] + [None]
    assert len({(sample.group, sample.split) for sample in data.samples[:40]}) == 10
    assert data.samples[40].unit == hashlib.sha256(b"content of alone.jpg").hexdigest()
    assert data.rule["grouped"] is True
    assert opened(None, manifest=file, val_fraction=0.3, group="group") == data


def test_an_expression_beats_the_column(tmp_path: Path) -> None:
    file = manifest(tmp_path, "s1/1,a,p", "s1/2,b,p", "s2/1,a,p", "s2/2,b,p", header="path,label,group")
    events: list[Event] = []
    data = opened(None, manifest=file, group="^([^/]+)/", emit=events.append, split_version=1)
    assert [sample.group for sample in data.samples] == ["s1", "s1", "s2", "s2"]
    assert said(events) == [f"Note: {file}: its column 'group' is not used, since data.group is a regular expression"]


def test_a_column_that_is_not_there(tmp_path: Path) -> None:
    file = manifest(tmp_path, "1,a", "2,b")
    with pytest.raises(DataOptionError) as caught:
        opened(None, manifest=file, group="group")
    assert (caught.value.option, caught.value.message) == ("group", f"{file} has no column 'group'")
    with pytest.raises(DataOptionError, match="the column 'group' is of a manifest, and this is a folder"):
        opened(write(tmp_path, class_files("a", 2)), group="group")


def test_groups_on_two_sides_of_the_users_splits_are_found(tmp_path: Path) -> None:
    files = {
        "train/a/p1_1.jpg": "1", "train/b/p2_1.jpg": "2", "train/a/p3_1.jpg": "3", "val/a/p1_2.jpg": "4",
        "val/a/p1_3.jpg": "5", "val/b/p4_1.jpg": "6", "test/b/p3_2.jpg": "7", "test/b/p1_4.jpg": "8",
    }  # fmt: skip
    data = opened(write(tmp_path, files), group=r"([^/]+)_")
    assert data.crossings() == []
    assert [
        tuple(str(Path(sample.path).relative_to(tmp_path)) for sample in pair) for pair in data.divided_groups()
    ] == [("train/a/p1_1.jpg", "val/a/p1_2.jpg"), ("train/a/p3_1.jpg", "test/b/p3_2.jpg")]
    assert [sample.split for sample in data.samples] == ["train"] * 3 + ["val"] * 3 + ["test"] * 2


# Exclusions


def test_what_is_excluded_is_not_there(tmp_path: Path) -> None:
    write(tmp_path / "data", class_files("a", 10) | class_files("b", 10) | {"a/sub/x.jpg": "x", "a/sub/y.jpg": "y"})
    exclude = tmp_path / "exclude.txt"
    exclude.write_text(f"# blurred\na/sub\n{tmp_path}/data/b/03.jpg\n*/00.jpg\nnowhere\n*.gif\nb/3.jpg\na/99.jpg\n")
    events: list[Event] = []
    data = opened(tmp_path / "data", exclude=exclude, emit=events.append)
    assert sorted(path for _, _, path in places(data)) == sorted(
        {*class_files("a", 10), *class_files("b", 10)} - {"a/00.jpg", "b/00.jpg", "b/03.jpg"}
    )
    assert said(events) == [
        f"Note: left out by {exclude}: 5 of 22 images",
        f"Warn: {exclude}: lines that match no image (4): 'nowhere', 'b/3.jpg', 'a/99.jpg', ...",
    ]
    assert data.rule == {
        "made_by": "hash",
        "seed": 0,
        "version": 2,
        "val_fraction": 0.2,
        "test_fraction": 0.0,
        "excluded": 5,
    }


def test_exclusions_of_a_manifest(tmp_path: Path) -> None:
    file = manifest(tmp_path, "x/1,a", "x/2,b", "/else/gone,a", "y/1,a", "y/2,b", "gone/1,c")
    exclude = write(tmp_path, {"exclude.txt": "/else\ny/1\ngone"}) / "exclude.txt"
    events: list[Event] = []
    data = opened(None, manifest=file, exclude=exclude, emit=events.append)
    assert [path for _, _, path in places(data)] == ["x/1", "x/2", "y/2"]
    assert data.classes == ("a", "b"), "a class of which nothing is left is none"
    assert (data.rule["excluded"], data.rule["manifest"]) == (3, True)
    assert said(events) == [f"Note: left out by {exclude}: 3 of 6 images"]


def test_a_class_that_is_excluded_is_none(tmp_path: Path) -> None:
    files = {
        f"{split}/{name}/{index}.jpg": f"{split}{name}{index}"
        for split in ("train", "val")
        for name in "abc"
        for index in range(3)
    }
    write(tmp_path / "data", files)
    exclude = write(tmp_path, {"exclude.txt": "*/b/*"}) / "exclude.txt"
    data = opened(tmp_path / "data", exclude=exclude)
    assert (data.classes, data.counts()) == (("a", "c"), {"train": [3, 3], "val": [3, 3]})
    exclude.write_text("train/b")
    with pytest.raises(DatasetError, match="val holds classes that were not trained: 'b'"):
        opened(tmp_path / "data", exclude=exclude)
    exclude.write_text("*")
    with pytest.raises(DataOptionError, match=r"^every image in .*/data is left out$") as caught:
        opened(tmp_path / "data", exclude=exclude)
    assert caught.value.option == "exclude"
    exclude.write_text("train/b/0.jpg\nval/b")
    assert opened(tmp_path / "data", exclude=exclude).counts() == {"train": [3, 2, 3], "val": [3, 0, 3]}


def test_exclusions_come_before_groups(tmp_path: Path) -> None:
    write(tmp_path, {"a/p_1.jpg": "1", "b/p_2.jpg": "2", "b/odd.jpg": "3"})
    exclude = write(tmp_path, {"exclude.txt": "b/odd.jpg"}) / "exclude.txt"
    found = opened(tmp_path, exclude=exclude, group="([^/]+)_", split_version=1)
    assert [sample.group for sample in found.samples] == ["p", "p"]


def test_groups_of_which_none_can_be_held_out_are_refused(tmp_path: Path) -> None:
    write(tmp_path, {"a/p_1.jpg": "1", "b/p_2.jpg": "2"})
    with pytest.raises(DataOptionError, match="all 2 images are in one group, 'p': no image can be held out") as caught:
        opened(tmp_path, group="([^/]+)_")
    assert caught.value.option == "group"


def test_a_group_larger_than_its_share_is_held_out_where_the_classes_have_others(tmp_path: Path) -> None:
    files = {f"{name}/{name}{group}_{image}.jpg": f"{name} {group} {image}"
             for name in "ab" for group in range(2) for image in range(10)}  # fmt: skip
    data = opened(write(tmp_path, files), group="([^/]+)_")
    assert data.counts() == {"train": [10, 10], "val": [10, 10]}
    assert data.rule["version"] == 2
    assert opened(tmp_path, group="([^/]+)_", split_version=1).counts() == {"train": [20, 20]}


# For evaluation


def labelled(root: Path, classes: tuple[str, ...], **splits: Any) -> list[tuple[int, str]]:
    samples = open_labelled(root, classes, workers=2, emit=ignore, **splits)
    return [(sample.label, str(Path(sample.path).relative_to(root))) for sample in samples]


def test_evaluation_labels_follow_the_checkpoint_not_the_folder(tmp_path: Path) -> None:
    write(tmp_path, {"c/1.jpg": "1", "a/1.jpg": "2"})
    assert labelled(tmp_path, ("a", "b", "c")) == [(0, "a/1.jpg"), (2, "c/1.jpg")]
    assert labelled(tmp_path, ("c", "b", "a")) == [(0, "c/1.jpg"), (2, "a/1.jpg")]


def test_evaluation_takes_test_before_val_and_never_train(tmp_path: Path) -> None:
    write(tmp_path, {f"{split}/{name}/1.jpg": split for split in ("train", "valid", "test") for name in "ab"})
    assert labelled(tmp_path, ("a", "b")) == [(0, "test/a/1.jpg"), (1, "test/b/1.jpg")]
    assert labelled(tmp_path, ("a", "b"), splits=("val", "test")) == [(0, "valid/a/1.jpg"), (1, "valid/b/1.jpg")]
    shutil.rmtree(tmp_path / "test")
    (tmp_path / "test").mkdir()
    assert labelled(tmp_path, ("a", "b")) == [(0, "valid/a/1.jpg"), (1, "valid/b/1.jpg")]
    shutil.rmtree(tmp_path / "valid")
    with pytest.raises(DatasetError, match=r"no images in the class folders of .*/test"):
        labelled(tmp_path, ("a", "b"))


def test_evaluation_refuses_unknown_classes_and_empty_folders(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="holds classes that were not trained: 'extra'"):
        labelled(write(tmp_path / "one", {"a/1.jpg": "", "extra/1.jpg": ""}), ("a", "b"))
    with pytest.raises(DatasetError, match="no images in the class folders"):
        labelled(write(tmp_path / "two", {"a/1.txt": ""}), ("a", "b"))
    with pytest.raises(DatasetError, match="no such folder"):
        labelled(tmp_path / "three", ("a", "b"))


def test_evaluation_of_one_class_alone_is_fine(tmp_path: Path) -> None:
    assert labelled(write(tmp_path, class_files("b", 3)), ("a", "b")) == [(1, f"b/0{index}.jpg") for index in range(3)]


def test_evaluation_knows_a_class_however_its_accents_are_written(tmp_path: Path) -> None:
    write(tmp_path, {"caf\u00e9/1.jpg": "1", "cafe\u0301/2.jpg": "2", "bar/3.jpg": "3"})
    for name in ("caf\u00e9", "cafe\u0301"):
        found = labelled(tmp_path, ("bar", name))
        assert sorted(found) == [(0, "bar/3.jpg"), (1, "cafe\u0301/2.jpg"), (1, "caf\u00e9/1.jpg")]


def test_evaluation_finds_a_folder_however_its_accents_are_written_and_says_what_it_skipped(tmp_path: Path) -> None:
    write(tmp_path, {"caf\u00e9/a/1.jpg": "1", "caf\u00e9/a/2.psd": ""})
    events: list[Event] = []
    (sample,) = open_labelled(tmp_path / "cafe\u0301", ("a", "b"), workers=2, emit=events.append)
    assert sample.path == f"{tmp_path}/caf\u00e9/a/1.jpg"
    assert said(events) == [f"Note: skipped in {tmp_path}/caf\u00e9: 1 named *.psd"]


def test_evaluation_says_what_was_skipped_where_nothing_is_left(tmp_path: Path) -> None:
    write(tmp_path, {"a/1.psd": "", "b/1.psd": "", "b/@eaDir/1.jpg": ""})
    with pytest.raises(DatasetError, match=r"skipped: 2 named \*\.psd, 1 system folders \(@eaDir\)"):
        labelled(tmp_path, ("a", "b"))
