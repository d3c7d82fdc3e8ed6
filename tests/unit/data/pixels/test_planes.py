"""TIFF in every way that its samples can lie: the right pixels, or a reason."""

from __future__ import annotations

import re

import numpy as np
import pytest

from featcli.data.pixels.decoding import decode_rgb
from featcli.data.readers.reader import UnreadableImage
from tests.corpus.planes import NOT_READ, STORAGES, Kind, Storage, kinds, stored

KINDS = list(kinds())
# What Pillow knows in neither form, or gives a reason of its own for.
ELSEWHERE = r"damaged image: (its TIFF header is incomplete, or of a kind that is not supported|unknown raw mode)"


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_right_pixels_or_a_reason_however_the_samples_lie(kind: Kind) -> None:
    read = {False: 0, True: 0}
    for how in STORAGES:
        try:
            found = np.asarray(decode_rgb(stored(kind.samples, kind.photometric, kind.extra, how)))
        except UnreadableImage as error:
            assert re.match(f"{NOT_READ}|{ELSEWHERE}", str(error)), (how, str(error))
            continue
        read[how.apart] += 1
        np.testing.assert_allclose(found, kind.pixels, rtol=0, atol=2, err_msg=str(how))
    of = len(STORAGES) // 2
    if kind.name.startswith("rgb") and kind.name != "rgb and a spare 8":
        assert read[True] >= of // 2
    if kind.name in ("rgb 8", "rgb 16", "rgb alpha 8", "rgb alpha 16", "rgb alpha unsaid 8", "inks 8"):
        assert read == {False: of, True: of}


@pytest.mark.parametrize(
    ("name", "together"), [("rgb 8", True), ("grey 8", True), ("rgb 16", False), ("white is 0 8", False)]
)
def test_no_wrong_pixels_where_bits_are_the_other_way_round(name: str, together: bool) -> None:
    kind = next(kind for kind in KINDS if kind.name == name)
    found = []
    for apart in (False, True):
        try:
            image = decode_rgb(stored(kind.samples, kind.photometric, kind.extra, Storage(apart, fill=2)))
        except UnreadableImage:
            found.append(False)
        else:
            found.append(True)
            np.testing.assert_allclose(np.asarray(image), kind.pixels, rtol=0, atol=2)
    assert found == [together, False]
