"""Every family on real photographs: features from files against torchvision's own transforms and network."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps
from torch import nn
from torchvision import models

from featcli.backbones.weights import load_backbone
from featcli.data.readers.files import file_ref
from featcli.events import ignore
from featcli.features.extraction import Extractor
from featcli.runtime import decide_runtime
from tests.unit.backbones.test_families import QUIET, SMALLEST

pytestmark = [pytest.mark.real, pytest.mark.usefixtures("threads_are_kept")]


@pytest.mark.parametrize("name", SMALLEST)
def test_features_of_files_equal_torchvisions(name: str, hymenoptera: Path, tmp_path: Path) -> None:
    torch.manual_seed(4)
    entry = models.get_model_weights(name)["DEFAULT"]
    network = models.get_model(name, weights=None, **QUIET.get(name, {})).eval()
    torch.save(network.state_dict(), tmp_path / "w.pth")
    if hasattr(network, "transform_input"):
        network.transform_input = True  # as torchvision sets it for these weights
    network.set_submodule(SMALLEST[name], nn.Identity())
    paths = [str(path) for path in sorted((hymenoptera / "val" / "bees").glob("*.jpg"))[:3]]
    transform = entry.transforms()
    images = [transform(ImageOps.exif_transpose(Image.open(path)).convert("RGB")) for path in paths]
    with torch.inference_mode():
        expected = network(torch.stack(images)).numpy().astype(np.float64)

    runtime = decide_runtime("cpu", threads=1, workers=2)
    extractor = Extractor(load_backbone(name, str(tmp_path / "w.pth"), emit=ignore), runtime)
    rows = [row for batch in extractor.stream(map(file_ref, paths), batch_size=8) for row in batch]
    found = np.stack([row.feature for row in rows if row.feature is not None]).astype(np.float64)
    cosine = (found * expected).sum(1) / np.linalg.norm(found, axis=1) / np.linalg.norm(expected, axis=1)
    assert cosine.min() >= 0.999999
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), np.linalg.norm(expected, axis=1), rtol=1e-3)
