"""Folders of small images."""

from __future__ import annotations

from pathlib import Path


def make_folder(root: Path, classes: dict[str, int], *, size: tuple[int, int] = (40, 32), start: int = 0) -> Path:
    """Makes `root/<class>/NN.png`: small images whose colour tells their class, each with its own noise."""
    import numpy as np
    from PIL import Image

    for label, (name, count) in enumerate(sorted(classes.items())):
        folder = root / name
        folder.mkdir(parents=True, exist_ok=True)
        for index in range(start, start + count):
            random = np.random.default_rng([label, index])
            pixels = random.integers(0, 90, (size[1], size[0], 3))
            pixels[..., label % 3] += 150
            Image.fromarray(pixels.astype(np.uint8)).save(folder / f"{index:02d}.png")
    return root
