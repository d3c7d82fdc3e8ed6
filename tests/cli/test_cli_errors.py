"""`scripts/errors.py` triggers real messages, and they have one shape."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from types import ModuleType

import pytest

from tests.process import PROJECT, ForkServer

pytestmark = pytest.mark.slow

JARGON = re.compile(r"Traceback|NoneType|Errno|deserializ|header too large|<class|internal error|object at 0x")


@pytest.fixture(scope="module")
def errors() -> ModuleType:
    spec = importlib.util.spec_from_file_location("errors", PROJECT / "scripts" / "errors.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("group", ["config", "checkpoint", "weights"])
def test_errors_have_one_shape(server: ForkServer, errors: ModuleType, tmp_path: Path, group: str) -> None:
    errors.make_place(tmp_path)
    errors.finish_place(server, tmp_path)
    ours = [line for line in errors.GROUPS[group] if not re.search(r"^predict$|empty$|-accuracy 2|--unseen", line)]
    assert len(ours) >= 6
    for line in ours:
        code, text = errors.said(server, tmp_path, line)
        assert code in (2, 3, 4), line
        assert not JARGON.search(text), text
        assert re.search(r"^(error|\S+\.yaml:\d+:\d+): \S", text, re.MULTILINE), text
