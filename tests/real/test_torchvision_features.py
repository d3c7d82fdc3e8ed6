"""`extract` against torchvision's own network and transforms, with a local state dict."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision
from PIL import Image, ImageOps

from tests.process import Finished

pytestmark = pytest.mark.real


def test_resnet18_from_a_file_equals_torchvision(
    featcli: Callable[..., Finished], hymenoptera: Path, tmp_path: Path
) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(3)
        network = torchvision.models.resnet18(weights=None)
    torch.save(network.state_dict(), tmp_path / "resnet18.pth")
    paths = sorted((hymenoptera / "val" / "ants").glob("*.jpg"))[:12]
    done = featcli(
        *("extract", *paths, "-o", tmp_path / "x.npz", "--set", "backbone.name=resnet18"),
        *("--set", f"backbone.weights={tmp_path / 'resnet18.pth'}"),
    )
    assert done.code == 0, done.stderr
    with np.load(tmp_path / "x.npz") as archive:
        assert archive["paths"].tolist() == [str(path) for path in paths]
        features = archive["features"].astype(np.float64)

    network.fc = torch.nn.Identity()
    transform = torchvision.models.ResNet18_Weights.DEFAULT.transforms()
    images = [ImageOps.exif_transpose(Image.open(path)).convert("RGB") for path in paths]
    with torch.inference_mode():
        expected = network.eval()(torch.stack([transform(image) for image in images])).double().numpy()
    cosine = (features * expected).sum(1) / np.linalg.norm(features, axis=1) / np.linalg.norm(expected, axis=1)
    assert cosine.min() >= 0.999999
    np.testing.assert_allclose(np.linalg.norm(features, axis=1), np.linalg.norm(expected, axis=1), rtol=1e-3)
