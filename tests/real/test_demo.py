"""`featcli demo`: real digits, real weights, from nothing to predictions; interrupted, then to its end, then again."""

from __future__ import annotations

import re
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.process import Finished, ForkServer

pytestmark = pytest.mark.real

# A pass waits for ever, and a file says so.
STUCK = """
import time
from pathlib import Path
from featcli.features.extraction import Extractor

submit, calls = Extractor._submit, []

def stuck(self, tile, name):
    calls.append(name)
    if len(calls) > 8:  # tiles of 8: in the third batch
        Path("computing").touch()
        time.sleep(100)
    return submit(self, tile, name)

Extractor._submit = stuck
"""


def test_demo(server: ForkServer, featcli: Callable[..., Finished], tmp_path: Path) -> None:
    stuck = tmp_path / "stuck.py"
    stuck.write_text(STUCK)
    run = server.start("demo", cwd=tmp_path, preload=stuck)
    end = time.monotonic() + 120
    while not (tmp_path / "computing").exists():
        assert time.monotonic() < end, run.errors()
        time.sleep(0.02)
    run.kill(signal.SIGINT)
    stopped = run.wait(20)
    assert (stopped.code, stopped.stdout, stopped.stderr.splitlines()[-1]) == (130, b"", "interrupted")
    digits = tmp_path / "featcli-demo" / "digits"
    assert len(list(digits.rglob("*.png"))) == 1797

    first = featcli("demo", cwd=tmp_path, timeout=1200)
    assert first.code == 0, first.stderr
    (accuracy,) = re.findall(r"^validation   \d+ images: accuracy (0\.\d+)", first.text, re.MULTILINE)
    assert float(accuracy) > 0.9
    (tuned,) = re.findall(r"^fine-tuned .*: accuracy (0\.\d+)", first.text, re.MULTILINE)
    assert float(tuned) > 0.98
    assert len(re.findall(r"^  \d/\d{4}\.png  is \d \(\d\.\d\d\), (?:right|wrong)$", first.text, re.MULTILINE)) >= 3
    # Of the first attempt a batch of 32 is kept; two of them where the engine works on one at a time.
    assert re.search(r"features     1797 images, (1765|1733) computed now", first.text)
    assert {path.name for path in (tmp_path / "featcli-demo").iterdir()} == {"digits", "digits.yaml", "run", "tuned"}

    again = featcli("demo", cwd=tmp_path, timeout=120)
    assert again.code == 0, again.stderr
    assert "features     1797 images, 0 computed now" in again.text

    suggested = [line.split() for line in again.text.splitlines() if line.startswith("  featcli ")]
    assert [words[1] for words in suggested] == ["predict", "evaluate", "finetune", "train-head", "train-head"]
    for words in (*suggested[:2], suggested[3]):
        done = featcli(*words[1:], cwd=tmp_path, timeout=120)
        assert done.code == 0, done.stderr
