"""Whatever is in the file or on the command line: a config, or a ConfigError, soon."""

import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from featcli.config import Config, load_config
from featcli.errors import ConfigError

SIZE = 999_999
PIECES = [
    *"abC01.-+e:,[]{}&*!|>'\"%@?#~<=\\ \n\t\x85\u2028\ufeff\x00\ud800",
    ": ",
    "\n  ",
    "\n- ",
    "head",
    "data",
    "!!",
]
PIECES += ["\\u", "\\U", "---", "...", "%YAML", "null", "preprocess", "backbone", "C", "root", "1e999", "9" * 500]
YAML_LIKE = st.lists(st.sampled_from(PIECES)).map("".join)

SLOW = {
    "brackets": "[" * SIZE,
    "brackets in lines": "[\n" * (SIZE // 2),
    "braces": "{a: " * (SIZE // 4),
    "dashes": "- " * (SIZE // 2),
    "question marks": "? " * (SIZE // 2),
    "keys": "".join(f"k{i}: 1\n" for i in range(90_000)),
    "unknown keys": "".join(f"fold{i}: 1\n" for i in range(950)),
    "long key": "? " + "a" * (SIZE - 10) + "\n: b",
    "long text": "seed: '" + "a" * (SIZE - 10) + "'",
    "alias bomb": "a: &a [x]\n" + "".join(f"b{i}: &b{i} [{','.join([f'*b{i - 1}'] * 9)}]\n" for i in range(1, 20)),
    "directives": "%FOO\n" * (SIZE // 10),
    "version": "%YAML 1." + "9" * 5000 + "\n--- {}",
}


def config_or_error(*arguments: Any) -> Config | str:
    try:
        return load_config(*arguments).config
    except ConfigError as error:
        assert error.problems
        assert all("\n" not in line for line in error.problems)
        return str(error)


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("fuzz") / "cats.yaml"


@pytest.mark.slow
@given(text=YAML_LIKE | st.text())
@settings(deadline=None, max_examples=400)
def test_any_text(text: str, file: Path) -> None:
    file.write_bytes(text.encode("utf-8", "surrogatepass"))
    config_or_error(file)


@given(data=st.binary())
@settings(deadline=None, max_examples=100)
def test_any_bytes(data: bytes, file: Path) -> None:
    file.write_bytes(data)
    config_or_error(file)


@pytest.mark.slow
@given(key=st.sampled_from(["head.C", "data.root", "backbone.preprocess", "", "."]), value=YAML_LIKE | st.text())
@example(key="head.C", value="a\na=[")
@settings(deadline=None, max_examples=200)
def test_any_argument_of_set(key: str, value: str) -> None:
    config_or_error(None, [f"{key}={value}"])
    config_or_error(None, [value])


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@pytest.mark.slow
@given(key=st.sampled_from(["head.C", "data.root", "backbone.preprocess", "head", "seed"]), value=VALUES)
@settings(deadline=None, max_examples=200)
def test_any_value_of_a_flag(key: str, value: Any) -> None:
    config_or_error(None, [], {"--flag": (key, value)})


@pytest.mark.parametrize("name", SLOW)
def test_what_is_made_to_hurt_is_refused_soon(name: str, file: Path) -> None:
    file.write_text(SLOW[name])
    start = time.process_time()
    answer = config_or_error(file)
    assert isinstance(answer, str)
    assert time.process_time() - start < 5
    assert len(answer) < 200_000


def test_a_stack_that_is_nearly_full_is_no_problem(file: Path) -> None:
    file.write_text("head: " + "{a: " * 19 + "1" + "}" * 19)
    assert isinstance(config_or_error(file), str)
