"""Resizing and cropping inside the file: within two levels of Pillow's, at every pixel, whatever the size."""

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper

from featcli.data.pixels.preprocessing import Preprocessing
from featcli.errors import UsageError
from featcli.export.onnx_graph import OPSET, with_front
from tests.scenes import scene

SIZES = [(64, 64), (75, 50), (50, 75), (31, 200), (200, 31), (333, 37), (65, 64), (640, 481)]


def session(preprocessing: Preprocessing) -> onnxruntime.InferenceSession:
    """A network that gives the squares that it gets."""
    side = preprocessing.crop
    squares = [
        helper.make_tensor_value_info(name, TensorProto.UINT8, ["batch", side, side, 3]) for name in ("pixels", "out")
    ]
    graph = helper.make_graph([helper.make_node("Identity", ["pixels"], ["out"])], "g", squares[:1], squares[1:])
    body = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=10)
    return onnxruntime.InferenceSession(with_front(body.SerializeToString(), preprocessing))


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
@pytest.mark.parametrize(("resize", "crop"), [(40, 32), (33, 32), (32, 32), (24, 32), (15, 32)])
def test_the_front_does_what_we_do(interpolation: str, resize: int, crop: int) -> None:
    preprocessing = Preprocessing(resize, crop, interpolation, (0.5,) * 3, (0.5,) * 3)
    run = session(preprocessing)
    for index, (width, height) in enumerate(SIZES):
        image = scene(index, (640, 640)).resize((width, height))
        [found] = run.run(None, {"pixels": np.asarray(image)[None]})[0]
        expected = preprocessing.pixels(image, resizer="pillow")
        assert found.shape == expected.shape == (crop, crop, 3)
        gaps = np.abs(found.astype(int) - expected)
        assert gaps.max() <= 2, (width, height)
        assert (gaps > 0).mean() < 0.2, (width, height)


def test_several_images_of_one_size_at_once() -> None:
    preprocessing = Preprocessing(40, 32, "bilinear", (0.5,) * 3, (0.5,) * 3)
    images = np.stack([np.asarray(scene(index, (64, 56))) for index in range(3)])
    found = session(preprocessing).run(None, {"pixels": images})[0]
    alone = [session(preprocessing).run(None, {"pixels": image[None]})[0][0] for image in images]
    np.testing.assert_array_equal(found, alone)


def test_an_interpolation_that_onnx_has_not() -> None:
    with pytest.raises(UsageError, match="no antialiased resize by 'lanczos'") as caught:
        session(Preprocessing(40, 32, "lanczos", (0.5,) * 3, (0.5,) * 3))
    assert "--form exact" in (caught.value.hint or "")
    assert onnx.__version__
