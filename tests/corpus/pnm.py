"""PNM: raw and plain, bitmaps, grey and colour, every kind of largest value; written here, by netpbm's definition."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tests.corpus.case import DAMAGED, HEADER, TOO_LARGE, Strange, bad, good
from tests.corpus.samples import GREY, RGB, grey_rgb, levels, noise


def raw(samples: NDArray[Any], largest: int, header: str = "") -> bytes:
    height, width = samples.shape[:2]
    magic = "P6" if samples.ndim == 3 else "P5"
    body = samples.astype(">u2" if largest > 255 else np.uint8).tobytes()
    return (header or f"{magic}\n{width} {height}\n{largest}\n").encode() + body


def plain(samples: NDArray[Any], largest: int) -> bytes:
    height, width = samples.shape[:2]
    rows = "\n".join(" ".join(map(str, row.reshape(-1).tolist())) for row in samples)
    return f"{'P3' if samples.ndim == 3 else 'P2'}\n# by hand\n{width} {height}\n{largest}\n{rows}\n".encode()


def pnms() -> Iterator[Strange]:
    yield good("ppm named as its kind", raw(RGB, 255), RGB, name=b"sign.ppm")
    yield good("pgm named as its kind", raw(GREY, 255), grey_rgb(GREY), name=b"scan.PGM")
    for largest in (1, 2, 15, 100, 254, 255, 256, 1000, 1023, 4095, 65534, 65535):
        for name, write in (("raw", raw), ("plain", plain)):
            for shape in ((13, 17), (13, 17, 3)):
                samples = noise(*shape, seed=largest, top=largest + 1)
                samples.reshape(-1)[:2] = 0, largest
                shown = levels(samples.astype(np.float64) * 255 / largest)
                kind = "pgm" if len(shape) == 2 else "ppm"
                pixels = grey_rgb(shown) if kind == "pgm" else shown
                yield good(f"{name} {kind} of largest {largest}", write(samples, largest), pixels)
    bits = (GREY > 127).astype(np.uint8)
    black = grey_rgb((1 - bits) * 255)
    packed = np.packbits(bits, axis=1).tobytes()
    yield good("raw pbm", b"P4\n17 13\n" + packed, black, name=b"bits.pbm")
    digits = "\n".join("".join(map(str, row.tolist())) for row in bits).encode()
    yield good("plain pbm without blanks", b"P1\n17 13\n" + digits, black, name=b"bits.pnm")
    yield good(
        "plain pbm with blanks",
        b"P1 17 13 " + b" ".join(digits.replace(b"\n", b"")[i : i + 1] for i in range(221)),
        black,
    )
    header = "P6 # one\n#two\r\n 17 # three\n\t13 #\n255\n"
    yield good("ppm with comments", raw(RGB, 255, header), RGB)
    yield good("ppm with a long comment", raw(RGB, 255, f"P6\n#{'x' * 9000}\n17 13\n255\n"), RGB)
    yield good("two ppm in a file", raw(RGB, 255) * 2, RGB)
    yield good("ppm then junk", raw(RGB, 255) + b"junk", RGB)
    yield good("plain ppm then another", plain(RGB, 255) + plain(RGB, 255), RGB)
    yield bad("ppm cut", raw(RGB, 255)[:-1], r"damaged image: 1 of its 663 values are missing$")
    yield bad(
        "pgm 16 cut", raw(noise(13, 17, top=65536), 65535)[:-1], r"damaged image: 1 of its 221 values are missing$"
    )
    yield bad("pbm cut", b"P4\n17 13\n" + packed[:-1])
    yield bad("plain ppm cut", plain(RGB, 255)[:-40])
    yield bad("pgm above its largest", raw(np.full((2, 2), 101), 100), "damaged image: values above its largest, 100$")
    yield bad("plain pgm above its largest", b"P2 2 1 100 7 101 ", "damaged image: values above its largest, 100$")
    yield bad("plain pgm with a minus", b"P2 2 1 100 7 -1 ")
    yield bad("pgm header alone", b"P5 17 13", HEADER)
    yield bad("pgm of no width", b"P5 0 13 255 ", DAMAGED)
    yield bad("pgm of largest 0", b"P5 17 13 0 ", DAMAGED)
    yield bad("pgm of largest 65536", b"P5 17 13 65536 ", DAMAGED)
    yield bad("pgm bomb", b"P5 100000 100000 255 ", TOO_LARGE)
    yield bad("plain pgm bomb", b"P2 2000000000 2000000000 255 1", TOO_LARGE)
    yield bad("text that begins with P1", b"P1 is a note\n", HEADER)
