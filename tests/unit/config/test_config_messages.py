"""What the user reads, word for word. Each case is a file (or arguments) and all the lines that it gets."""

from pathlib import Path
from typing import Any

import pytest

from featcli.config import load_config
from featcli.errors import ConfigError

TOP = "the top level has data, backbone, head, train, loader, output, device, precision and seed"
ONE_GROUP = "expected a regular expression with exactly one group in parentheses, as in '([^/]+)_'"
BOTH = (
    "data.root and data.manifest both name the images: remove data.root, since a manifest's paths are relative to its"
    " own folder, or data.manifest, to take the folder as it is"
)
RANGE = "expected full, auto or two integers [low, high], 0 <= low < high <= 65535"
WEIGHTS = "DEFAULT, none, a weights name, a file or package:MODULE/FILE"

IN_FILE = {
    # unknown keys
    "backbone:\n  freez_depth: all": ["2:3: unknown key 'backbone.freez_depth'; did you mean 'freeze_depth'?"],
    "backbone: {Freeze_Depth: all}": ["1:12: unknown key 'backbone.Freeze_Depth'; did you mean 'freeze_depth'?"],
    "heads: {C: 1}": ["1:1: unknown key 'heads'; did you mean 'head'?"],
    "data: {folds: 3}": ["1:8: unknown key 'data.folds'; 'folds' belongs under 'head'"],
    "backbone: {resize: 3}": ["1:12: unknown key 'backbone.resize'; 'resize' belongs under 'backbone.preprocess'"],
    "head: {seed: 3}": ["1:8: unknown key 'head.seed'; 'seed' belongs at the top level"],
    "batchsize: 8": ["1:1: unknown key 'batchsize'; did you mean 'train.batch_size' or 'loader.batch_size'?"],
    "head.C: 1": ["1:1: unknown key 'head.C'; in a file, write 'C' under 'head'"],
    "backbone: {preprocess: {sizes: 3}}": ["1:25: unknown key 'backbone.preprocess.sizes'; did you mean 'resize'?"],
    "loader: {zzz: 3}": ["1:10: unknown key 'loader.zzz'; 'loader' has batch_size and workers"],
    "head: {devise: cpu}": [
        "1:8: unknown key 'head.devise'; 'head' has kind, C, folds, repeats, class_weight, hidden, dropout and init"
    ],
    "wxyz: 3": [f"1:1: unknown key 'wxyz'; {TOP}"],
    "1: 3": [f"1:1: unknown key '1'; {TOP}"],
    "null: 3": [f"1:1: unknown key 'null'; {TOP}"],
    "<<: {seed: 1}": [f"1:1: unknown key '<<'; {TOP}"],
    # keys of DESIGN that come later are unknown today
    "trained: {lr: 1}": ["1:1: unknown key 'trained'; did you mean 'train'?"],
    "data: {wxyz: 1}": [
        "1:8: unknown key 'data.wxyz'; 'data' has root, manifest, val_fraction, test_fraction, group, positive, "
        "exclude, range, decode and limit"
    ],
    # types and ranges
    "data:\n  val_fraction: lots": ["2:17: data.val_fraction: expected a number in [0, 1), got 'lots'"],
    "data: {val_fraction: -0.1}": ["1:22: data.val_fraction: expected a number in [0, 1), got -0.1"],
    "data: {val_fraction: 1.0}": ["1:22: data.val_fraction: expected a number in [0, 1), got 1.0"],
    "data: {val_fraction: .nan}": ["1:22: data.val_fraction: expected a number in [0, 1), got .nan"],
    "data: {test_fraction: 1}": ["1:23: data.test_fraction: expected a number in [0, 1), got 1"],
    "data: {test_fraction: -0.1}": ["1:23: data.test_fraction: expected a number in [0, 1), got -0.1"],
    "data: {range: atuo}": [f"1:15: data.range: {RANGE}, got 'atuo'; did you mean 'auto'?"],
    "data: {range: [5, 5]}": [f"1:15: data.range: {RANGE}, got [5, 5]"],
    "data: {range: [10, 3]}": [f"1:15: data.range: {RANGE}, got [10, 3]"],
    "data: {range: [-1, 9]}": [f"1:15: data.range: {RANGE}, got [-1, 9]"],
    "data: {range: [0, 65536]}": [f"1:15: data.range: {RANGE}, got [0, 65536]"],
    "data: {range: [0, 9.5]}": [f"1:15: data.range: {RANGE}, got [0, 9.5]"],
    "data: {range: [1, 2, 3]}": [f"1:15: data.range: {RANGE}, got [1, 2, 3]"],
    "data: {range: 4095}": [f"1:15: data.range: {RANGE}, got 4095"],
    "data: {decode: fast}": ["1:16: data.decode: expected exact or scaled, got 'fast'"],
    "data: {limit: 0}": ["1:15: data.limit: expected an integer of at least 1 or null, got 0"],
    "data: {limit: 2.5}": ["1:15: data.limit: expected an integer of at least 1 or null, got 2.5"],
    "data: {limit: 1e3}": ["1:15: data.limit: expected an integer of at least 1 or null, got 1e3; write 1000"],
    "data: {limit: 1_000}": ["1:15: data.limit: expected an integer of at least 1 or null, got '1_000'; write 1000"],
    "data: {limit: true}": ["1:15: data.limit: expected an integer of at least 1 or null, got true"],
    "data: {root: 2024}": ["1:14: data.root: expected a path or null, got 2024; write '2024', in quotes"],
    "data: {root: ''}": ["1:14: data.root: expected a path or null, got ''"],
    'data: {root: "a\\0"}': ["1:14: data.root: expected a path or null, got 'a\\x00'"],
    'data: {root: "\\ud800"}': ["1:14: data.root: expected a path or null, got '\\ud800'"],
    "data: {manifest: 7}": ["1:18: data.manifest: expected a path or null, got 7; write '7', in quotes"],
    "data: {manifest: ''}": ["1:18: data.manifest: expected a path or null, got ''"],
    "data: {exclude: [a, b]}": ["1:17: data.exclude: expected a path or null, got ['a', 'b']"],
    "data: {group: 7}": ["1:15: data.group: expected group, a regular expression with one group or null, got 7"],
    "data: {positive: true}": [
        "1:18: data.positive: expected the name of a class or null, got true; write 'true', in quotes"
    ],
    "data: {positive: ''}": ["1:18: data.positive: expected the name of a class or null, got ''"],
    "data: {group: ''}": ["1:15: data.group: expected group, a regular expression with one group or null, got ''"],
    "data:\n  group: patient": [f"2:10: data.group: {ONE_GROUP}, got 'patient'"],
    "data: {group: '(a)(b)'}": [f"1:15: data.group: {ONE_GROUP}, got '(a)(b)'"],
    "data: {group: '(?:a)'}": [f"1:15: data.group: {ONE_GROUP}, got '(?:a)'"],
    "data: {group: '(a'}": [
        "1:15: data.group: not a regular expression: missing ), unterminated subpattern at position 0"
    ],
    'data: {group: "(?\\n)"}': [
        "1:15: data.group: not a regular expression: unknown extension ?\\n at position 1 (line 1, column 2)"
    ],
    "data: {group: '(?L)(a)'}": [
        "1:15: data.group: not a regular expression: bad inline flags: cannot use 'L' flag with a str pattern ..."
    ],
    "data: {group: '(a{99999999999})'}": [
        "1:15: data.group: not a regular expression: the repetition number is too large"
    ],
    "data: {group: '" + "(" * 3000 + ")" * 3000 + "'}": [
        "1:15: data.group: not a regular expression: nested too deeply"
    ],
    "data: {group: '(a{5}'}": [
        "1:15: data.group: not a regular expression: missing ), unterminated subpattern at position 0"
    ],
    "data: {group: 'a{5}'}": [f"1:15: data.group: {ONE_GROUP}, got 'a{{5}}'"],
    "backbone: {name: ''}": ["1:18: backbone.name: expected a backbone's name or null, got ''"],
    "head: {folds: .inf}": ["1:15: head.folds: expected an integer of at least 2, got .inf"],
    "backbone: {name: 18}": ["1:18: backbone.name: expected a backbone's name or null, got 18; write '18', in quotes"],
    "backbone: {name: true}": [
        "1:18: backbone.name: expected a backbone's name or null, got true; write 'true', in quotes"
    ],
    "backbone: {name: [a]}": ["1:18: backbone.name: expected a backbone's name or null, got ['a']"],
    "backbone: {weights: null}": [f"1:21: backbone.weights: expected {WEIGHTS}, got null; write none"],
    "backbone: {weights: ~}": [f"1:21: backbone.weights: expected {WEIGHTS}, got ~; write none"],
    "backbone:\n  weights:": [f"2:11: backbone.weights: expected {WEIGHTS}, got nothing; write none"],
    "backbone: {preprocess: [1]}": [
        "1:24: backbone.preprocess: expected auto, a weights name or a mapping (resize, crop, interpolation, mean,"
        " std), got [1]"
    ],
    "backbone: {preprocess: {resize: 0}}": [
        "1:33: backbone.preprocess.resize: expected an integer of at least 1 or null, got 0"
    ],
    "backbone: {preprocess: {interpolation: linear}}": [
        "1:40: backbone.preprocess.interpolation: expected nearest, bilinear, bicubic or null, got 'linear';"
        " did you mean 'bilinear'?"
    ],
    "backbone: {preprocess: {mean: [1, 2]}}": [
        "1:31: backbone.preprocess.mean: expected a list of 3 numbers or null, got [1, 2]"
    ],
    "backbone: {preprocess: {std: [1, 0, 1]}}": [
        "1:30: backbone.preprocess.std: expected a list of 3 numbers above 0 or null, got [1, 0, 1]"
    ],
    "backbone: {freeze_depth: -1}": [
        "1:26: backbone.freeze_depth: expected all, none, an integer of at least 0 or a stage's name, got -1"
    ],
    "backbone: {freeze_depth: null}": [
        "1:26: backbone.freeze_depth: expected all, none, an integer of at least 0 or a stage's name, got null;"
        " write none"
    ],
    "head: {kind: knn}": ["1:14: head.kind: expected logistic, linear or mlp, got 'knn'"],
    "head: {kind: logistik}": [
        "1:14: head.kind: expected logistic, linear or mlp, got 'logistik'; did you mean 'logistic'?"
    ],
    "train: {time_limit: 10}": ["1:21: train.time_limit: expected a duration such as 90s, 10m or 2h or null, got 10"],
    "train: {time_limit: 0s}": ["1:21: train.time_limit: expected a duration such as 90s, 10m or 2h or null, got '0s'"],
    "train: {cache_limit: 8}": ["1:22: train.cache_limit: expected a size such as 800MB or 8GB, got 8"],
    "train: {cache_limit: 8XB}": ["1:22: train.cache_limit: expected a size such as 800MB or 8GB, got '8XB'"],
    "train: {layer_decay: 0}": ["1:22: train.layer_decay: expected a number above 0 and at most 1, got 0"],
    "train: {label_smoothing: 1}": ["1:26: train.label_smoothing: expected a number in [0, 1), got 1"],
    "train: {augment: Light}": [
        "1:18: train.augment: expected none, flip, light or strong, got 'Light'; did you mean 'light'?"
    ],
    "head: {C: []}": ["1:11: head.C: expected auto, a number above 0 or a list of numbers above 0, got []"],
    "head: {C: [1, -1]}": ["1:11: head.C: expected auto, a number above 0 or a list of numbers above 0, got [1, -1]"],
    "head: {C: [1, 2, 1.0]}": ["1:11: head.C: expected distinct numbers, 1.0 is there twice"],
    "head: {C: {a: 1}}": ["1:11: head.C: expected auto, a number above 0 or a list of numbers above 0, got {a: 1}"],
    "head: {C: .inf}": ["1:11: head.C: expected auto, a number above 0 or a list of numbers above 0, got .inf"],
    "head: {C: 0}": ["1:11: head.C: expected auto, a number above 0 or a list of numbers above 0, got 0"],
    "head: {folds: 1}": ["1:15: head.folds: expected an integer of at least 2, got 1"],
    "head: {folds: '5'}": ["1:15: head.folds: expected an integer of at least 2, got '5'; write 5"],
    "head: {folds: '1'}": ["1:15: head.folds: expected an integer of at least 2, got '1'"],
    "head: {folds: 010}": ["1:15: head.folds: expected an integer of at least 2, got '010'; write 10"],
    "head: {folds: 01:30}": ["1:15: head.folds: expected an integer of at least 2, got '01:30'"],
    "head: {folds: on}": ["1:15: head.folds: expected an integer of at least 2, got 'on'"],
    "head: {folds: 2024-01-01}": ["1:15: head.folds: expected an integer of at least 2, got '2024-01-01'"],
    "head: {class_weight: balance}": [
        "1:22: head.class_weight: expected none or balanced, got 'balance'; did you mean 'balanced'?"
    ],
    "head: {class_weight: ~}": ["1:22: head.class_weight: expected none or balanced, got ~; write none"],
    "loader: {batch_size: 0}": ["1:22: loader.batch_size: expected an integer of at least 1, got 0"],
    "loader: {workers: 0}": ["1:19: loader.workers: expected auto or an integer of at least 1, got 0"],
    "device: gpu": ["1:9: device: expected auto, cpu, cuda, cuda:N or mps, got 'gpu'; did you mean 'cuda'?"],
    "device: CUDA": ["1:9: device: expected auto, cpu, cuda, cuda:N or mps, got 'CUDA'; did you mean 'cuda'?"],
    "device: tpu:x": ["1:9: device: expected auto, cpu, cuda, cuda:N or mps, got 'tpu:x'"],
    "precision: float16": ["1:12: precision: expected fp32, bf16 or fp16, got 'float16'; did you mean 'fp16'?"],
    "seed: 4294967296": ["1:7: seed: expected an integer from 0 to 4294967295, got 4294967296"],
    "seed: " + "9" * 400: [f"1:7: seed: expected an integer from 0 to 4294967295, got {'9' * 57}..."],
    "seed: " + "9" * 5000: [f"1:7: seed: expected an integer from 0 to 4294967295, got {'9' * 57}..."],
    "seed: " + "x" * 400: [f"1:7: seed: expected an integer from 0 to 4294967295, got '{'x' * 57}'..."],
    # sections and the top
    "loader: 5": ["1:9: loader: expected a section with batch_size and workers, got 5"],
    "loader: null": ["1:9: loader: expected a section with batch_size and workers, got null"],
    "- a": ["1:1: expected sections such as 'data:' and 'backbone:', got ['a']"],
    "cats": ["1:1: expected sections such as 'data:' and 'backbone:', got 'cats'"],
    "train: {mirror: maybe}": ["1:17: train.mirror: expected auto, true or false, got 'maybe'"],
    # together
    "train: {augment: flip, mirror: false}": [
        "1:32: train.augment: flip mirrors and does nothing else, and train.mirror is false: take light or strong, "
        "which vary without it, or none"
    ],
    "train: {augment: none, views: 4}": [
        "1:31: train.views draws variants of train.augment light or strong, and it is none: one variant"
    ],
    "train: {batch_norm: train, batch_size: 1}": [
        "1:40: train.batch_norm: train needs more than one image in a batch: raise train.batch_size, or use auto"
    ],
    "data:\n  test_fraction: 0.5\n  val_fraction: 0.5": [
        "3:17: data.val_fraction and data.test_fraction must add up to less than 1, got 0.5 + 0.5"
    ],
    "data: {test_fraction: 0.9}\nseed: x": [
        "1:23: data.val_fraction and data.test_fraction must add up to less than 1, got 0.2 + 0.9",
        "2:7: seed: expected an integer from 0 to 4294967295, got 'x'",
    ],
    "data: {test_fraction: 0.9, val_fraction: x}": ["1:42: data.val_fraction: expected a number in [0, 1), got 'x'"],
    "data: {test_fraction: 0.9, val_fractio: 0.05}": [
        "1:28: unknown key 'data.val_fractio'; did you mean 'val_fraction'?"
    ],
    "data:\n  manifest: a.csv\n  root: photos": [f"3:9: {BOTH}"],
    "data:\n  root: photos\n  manifest: a.csv": [f"3:13: {BOTH}"],
    "data:\n  group: group\n  root: photos": [
        "3:9: data.group: group is the column of a manifest, and data.root is a folder; give a regular expression with"
        " one group, such as '([^/]+)_'"
    ],
    # YAML
    "seed: 1\nhead: {C: 1}\nseed: 2": ["3:1: key 'seed' is given twice, first at 1:1"],
    "head:\n  C: 1\n  C: x": [
        "3:3: key 'head.C' is given twice, first at 2:3",
        "3:6: head.C: expected auto, a number above 0 or a list of numbers above 0, got 'x'",
    ],
    "seed: &s 1\nhead: {folds: *s}": ["2:15: aliases (*s) are not supported; write the value out"],
    "head: {C: {a: *s}}": ["1:15: aliases (*s) are not supported; write the value out"],
    "head: {C: [1, *s]}": ["1:15: aliases (*s) are not supported; write the value out"],
    "*s : 1": ["1:1: aliases (*s) are not supported; write the value out"],
    "output: !!python/object/apply:os.system [ls]": [
        "1:9: tags (!!python/object/apply:os.system) are not supported; write the value without it"
    ],
    "seed: !!int 5": ["1:7: tags (!!int) are not supported; write the value without it"],
    "!!map {seed: 5}": ["1:1: tags (!!map) are not supported; write the value without it"],
    "? [a, b]\n: 1": ["1:3: a key must be a word, got ['a', 'b']"],
    "head:\n\tC: 1": ["2:1: not valid YAML: a tab; indent with spaces"],
    "head: {C: 1": [
        "1:12: not valid YAML: expected ',' or '}', but got '<stream end>' while parsing a flow mapping (from 1:7)"
    ],
    "head: C: 1": ["1:8: not valid YAML: mapping values are not allowed here"],
    "seed: &a 1\nhead: {C: *a, folds: [}": [
        "2:11: aliases (*a) are not supported; write the value out",
        "2:23: not valid YAML: expected the node content, but found '}' while parsing a flow node (from 2:23)",
    ],
    'seed: "\\UFFFFFFFF"': ["1:10: not valid YAML: no such number or character"],
    "seed: 1\nhead:\n  C: \x07": ["3:6: a character that YAML does not allow (U+0007)"],
    "seed: 1\n---\nseed: 2": ["2:1: one document is expected, a second begins here"],
    "[" * 1000: ["1:22: nested deeper than 20 levels"],
    "\n".join(f"k{i}: 0" for i in range(2000)): ["1000:7: more than 2000 keys and values are not a config"],
}

ON_COMMAND_LINE: list[tuple[str, str]] = [
    ("head.Cc=1", "unknown key 'head.Cc'; did you mean 'C'?"),
    ("folds=3", "unknown key 'folds'; 'folds' belongs under 'head'"),
    ("data.val_fraction=lots", "expected a number in [0, 1), got 'lots'"),
    ("head={C: -1}", "head.C: expected auto, a number above 0 or a list of numbers above 0, got -1"),
    ("head=5", "expected a section with kind, C, folds, repeats, class_weight, hidden, dropout and init, got 5"),
    ("head.C.x=5", "head.C: expected auto, a number above 0 or a list of numbers above 0, got {x: 5}"),
    ("head.C", "expected key=value, as in --set head.C=0.1"),
    ("=1", "expected key=value, as in --set head.C=0.1"),
    ("head..C=1", "expected key=value, as in --set head.C=0.1"),
    ("seed=", "expected an integer from 0 to 4294967295, got nothing"),
    ("head={C: 1, C: 2}", "key 'head.C' is given twice, first at 1:2"),
    (
        "head.C=[0.1,",
        "not closed; for the shell, what holds spaces needs quotes, as in --set head.C='[0.1, 1]'",
    ),
    (
        'output="C:\\Users\\me"',
        "not valid YAML: in double quotes, \\ begins an escape; write '...' in single quotes, or / for \\ in a path",
    ),
    (
        "data.root=[x] y",
        "not valid YAML: expected '<document start>', but found '<scalar>'; to mean the text as it is, quote it: "
        "--set 'data.root=\"[x] y\"'",
    ),
    ("train.learning_rate=1e-3", "unknown key 'train.learning_rate'; here it is 'train.lr'"),
    ("model=resnet18", "unknown key 'model'; here it is 'backbone.name'"),
    ("train.WD=0.1", "unknown key 'train.WD'; here it is 'train.weight_decay'"),
    ("data.val_split=0.1", "unknown key 'data.val_split'; here it is 'data.val_fraction'"),
    ("head.C=0.1 # strong", "expected auto, a number above 0 or a list of numbers above 0, got '0.1 # strong'"),
]


def lines(error: pytest.ExceptionInfo[ConfigError]) -> list[str]:
    assert error.value.problems == tuple(str(error.value).split("\n"))
    return list(error.value.problems)


@pytest.fixture(autouse=True)
def _in_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("text", IN_FILE, ids=lambda text: repr(text[:40]))
def test_messages_about_a_file(text: str) -> None:
    Path("cats.yaml").write_text(text)
    with pytest.raises(ConfigError) as error:
        load_config("cats.yaml")
    assert lines(error) == [f"cats.yaml:{line}" for line in IN_FILE[text]]


@pytest.mark.parametrize(("argument", "message"), ON_COMMAND_LINE)
def test_messages_about_set(argument: str, message: str) -> None:
    with pytest.raises(ConfigError) as error:
        load_config(None, [argument])
    assert lines(error) == [f"--set {argument}: {message}"]


def test_a_folder_of_the_file_and_a_manifest_of_the_command_line() -> None:
    Path("cats.yaml").write_text("data: {root: photos}")
    with pytest.raises(ConfigError) as error:
        load_config("cats.yaml", ["data.manifest=a.csv"])
    assert lines(error) == [f"--set data.manifest=a.csv: {BOTH}"]
    config = load_config("cats.yaml", ["data.manifest=a.csv", "data.root=null"]).config
    assert (config.data.root, config.data.manifest) == (None, Path.cwd() / "a.csv")


@pytest.mark.parametrize(
    ("spelling", "key", "value", "message"),
    [
        ("--device", "device", "gpu", "expected auto, cpu, cuda, cuda:N or mps, got 'gpu'; did you mean 'cuda'?"),
        ("--seed", "seed", -1, "expected an integer from 0 to 4294967295, got -1"),
        ("-o", "output", Path("a\0"), "expected a path or null, got 'a\\x00'"),
    ],
)
def test_messages_about_flags(spelling: str, key: str, value: Any, message: str) -> None:
    with pytest.raises(ConfigError) as error:
        load_config(None, [], {spelling: (key, value)})
    assert lines(error) == [f"{spelling}: {message}"]


def test_all_sources_at_once_in_the_order_in_which_they_are_read() -> None:
    Path("cats.yaml").write_text("seed: x\nheadd: 1\ndata: {limit: 0}\n")
    with pytest.raises(ConfigError) as error:
        load_config("cats.yaml", ["seed=y", "data.limit=5"], {"--device": ("device", "gpu"), "--seed": ("seed", 1)})
    assert [line.split(": ")[0] for line in lines(error)] == [
        "cats.yaml:1:7",
        "cats.yaml:2:1",
        "cats.yaml:3:15",
        "--set seed=y",
        "--device",
    ]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"seed: 1\nhead: {C: \xe9}", "cats.yaml:2:11: not UTF-8 text (byte 0xe9)"),
        ("seed: 1".encode("utf-16"), "cats.yaml:1:1: UTF-16, not UTF-8; save it as UTF-8"),
        (b"\xef\xbb\xbfsede: 1", "cats.yaml:1:1: unknown key 'sede'; did you mean 'seed'?"),
        (b"seed: 1\r\nsede: 1\r\n", "cats.yaml:2:1: unknown key 'sede'; did you mean 'seed'?"),
        (b"#" * 1_000_001, "cats.yaml: larger than 1 MB, which no config is"),
        (b"- a\n" * 2_500_000, "cats.yaml: larger than 1 MB, which no config is"),
    ],
    ids=["latin1", "utf16", "bom", "crlf", "over 1 MB", "10 MB"],
)
def test_bytes_that_are_not_a_config(content: bytes, message: str) -> None:
    Path("cats.yaml").write_bytes(content)
    with pytest.raises(ConfigError) as error:
        load_config("cats.yaml")
    assert lines(error) == [message]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("configs/cat.yaml", "configs/cat.yaml: no such file; did you mean 'configs/cats.yaml'?"),
        ("configs/Cats", "configs/Cats: no such file; did you mean 'configs/cats.yaml'?"),
        ("configs/zebra.yaml", "configs/zebra.yaml: no such file"),
        ("nowhere/cats.yaml", "nowhere/cats.yaml: no such file"),
        ("configs/cats.yaml/x.yaml", "configs/cats.yaml/x.yaml: no such file"),
        ("configs", "configs: a folder, not a config file; a folder of images stands without --config"),
        ("cofnig", "cofnig: no such file; did you mean 'config.yml'?"),
        (".", ".: a folder, not a config file; did you mean './config.yml'?"),
        ("a\0", "a\0: cannot be read: embedded null byte"),
    ],
)
def test_a_file_that_is_not_there_or_not_a_file(name: str, message: str) -> None:
    Path("configs").mkdir()
    Path("configs/cats.yaml").touch()
    Path("configs/cats.txt").touch()
    Path("config.yml").touch()
    with pytest.raises(ConfigError) as error:
        load_config(name)
    assert lines(error) == [message]


def test_a_file_that_may_not_be_read(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("builtins.open", refuse)
    with pytest.raises(ConfigError) as error:
        load_config("cats.yaml", ["sede=1"])
    monkeypatch.undo()
    assert lines(error) == [
        "cats.yaml: cannot be read: Permission denied",
        "--set sede=1: unknown key 'sede'; did you mean 'seed'?",
    ]


def test_a_working_directory_that_is_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    with pytest.raises(ConfigError) as error:
        load_config(None)
    assert lines(error) == ["the working directory is gone; change to one that exists"]
