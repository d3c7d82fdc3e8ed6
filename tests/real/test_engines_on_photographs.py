"""Every family through OpenVINO on real photographs, compared with plain torch; the bits that no thread may change."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from featcli.backbones.weights import load_backbone
from featcli.data.pixels.loading import load_pixels
from featcli.data.readers.files import file_ref
from featcli.events import ignore
from featcli.features.engines.engine import forward
from featcli.features.engines.gate import LEAST_COSINE, MOST_LENGTH, compare
from featcli.features.engines.models import ModelCache
from featcli.features.engines.openvino import OpenVino
from featcli.features.engines.plain import PlainTorch
from featcli.runtime import decide_runtime
from tests.unit.backbones.test_families import SMALLEST

pytest.importorskip("openvino", reason="the extra fast is not installed")
pytestmark = [pytest.mark.real, pytest.mark.usefixtures("threads_are_kept")]


@pytest.mark.parametrize("name", [*SMALLEST, "efficientnet_lite0"])
def test_openvino_gives_the_features_of_plain_torch(name: str, hymenoptera: Path, tmp_path: Path) -> None:
    runtime = decide_runtime("cpu", threads=2, workers=2)
    backbone = load_backbone(name, "none", seed=3, emit=ignore)
    paths = sorted((hymenoptera / "val" / "ants").glob("*.jpg"))[:3]
    loaded = [load_pixels(file_ref(str(path)), backbone.preprocessing.pixels).value for path in paths]
    pixels = [image for image in loaded if image is not None]
    engine = OpenVino(backbone, runtime, ModelCache(tmp_path), lambda: backbone)
    found, expected = forward(engine, pixels), forward(PlainTorch(backbone, runtime), pixels)
    cosine, length = compare(expected, found)
    assert cosine >= LEAST_COSINE and length <= MOST_LENGTH
    np.testing.assert_array_equal(forward(engine, pixels[2:])[0], found[2])
