"""Which engine a command gets: installing the extra recomputes nothing, of a config's images and of paths."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import pytest

from featcli.backbones.stages import Backbone
from featcli.config.load import load_config
from featcli.data.readers.files import file_ref
from featcli.events import ignore
from featcli.features.extraction import space_of
from featcli.features.store import FeatureStore
from featcli.runtime import Runtime, decide_runtime
from featcli.workflow.engines import Wanted, first_of, open_extractor
from featcli.workflow.session import Session
from tests.unit.features.test_extraction import SIZE, tiny_backbone

pytest.importorskip("openvino", reason="the extra fast is not installed")
pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def photos(tmp_path: Path, make_folder: Callable[..., Path]) -> list[Path]:
    return sorted(make_folder(tmp_path / "photos", {"cats": 40, "dogs": 40}).rglob("*.png"))


def store_rows(cache: Path, backbone: Backbone, runtime: Runtime, photos: list[Path]) -> None:
    import numpy as np

    store = FeatureStore(cache, space_of(backbone, runtime.precision, runtime.device.type, "torch"), SIZE, ignore)
    with store.writer({}) as writer:
        for path in photos:
            writer.add(hashlib.sha256(path.read_bytes()).digest(), np.zeros(SIZE, dtype=np.float32))


@pytest.mark.parametrize("is_known", [True, False])
@pytest.mark.parametrize(("stored", "name"), [(80, "torch"), (50, "torch"), (0, "openvino")])
def test_the_engine_whose_rows_cover_most_images_goes_on(
    photos: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_known: bool, stored: int, name: str
) -> None:
    monkeypatch.setattr("featcli.features.engines.gate._NOTICED", 1.0)
    backbone, runtime = tiny_backbone(), decide_runtime("cpu", threads=1, workers=1)
    session = Session(load_config(None, []), tmp_path / "cache", ignore)
    store_rows(session.cache, backbone, runtime, photos[:stored])
    if is_known:
        refs = [file_ref(str(path), hashlib.sha256(path.read_bytes()).digest()) for path in photos]
        wanted = Wanted(refs, len(refs))
    else:
        wanted, rest = first_of((file_ref(str(path)) for path in photos), waits=False)
        assert wanted.count is None and len(list(rest)) == 80
    assert open_extractor(session, backbone, runtime, wanted).engine.name == name
