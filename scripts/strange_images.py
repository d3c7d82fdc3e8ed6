"""A folder of strange files, what each must give, and whether featcli gives it: `scripts/strange_images.py`.

The files are those of tests/corpus/, a module for each format: every mode, orientation and damage that real folders
hold, with names that break naive programs. What an image must give is computed there, from the samples it was made of
and the definitions of the formats, never by featcli. Real featcli processes run over the folder too: a row for each
file in order, bounded memory, no hang, nothing touched. Takes about half a minute on two cores; exits 1 where anything
is wrong.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tests.corpus.check import Check, snapshot


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--keep", type=Path, help="a new folder for the corpus, left there")
    keep = parser.parse_args().keep
    with tempfile.TemporaryDirectory(prefix="featcli-strange-") as temporary:
        started = time.monotonic()
        check = Check(keep.resolve() if keep else Path(temporary))
        before = snapshot(check.folder)
        print(f"      {len(check.files)} files made in {time.monotonic() - started:.1f} s")
        check.pixels()
        check.predict()
        check.extract()
        after = snapshot(check.folder)
        changed = [name for name in {*before, *after} if before.get(name) != after.get(name)]
        check.expect("nothing is touched", changed, f"{len(after)} names")
        images = sum(item.pixels is not None for item in check.files)
        print(f"{len(check.files)} files: {images} with pixels, {len(check.files) - images} errors")
        print(f"{check.failures} failures, {time.monotonic() - started:.1f} s")
    return int(check.failures > 0)


if __name__ == "__main__":
    sys.exit(main())
