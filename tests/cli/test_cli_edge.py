"""The code of docs/edge.md runs as it stands, without featcli and torch, and gives what `predict` gives."""

from __future__ import annotations

import functools
import http.server
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image, ImageCms

from tests.process import PROJECT, ForkServer
from tests.scenes import scene

pytestmark = pytest.mark.slow

PAGE = (PROJECT / "docs" / "edge.md").read_text()
EXPORTS = ["featcli export runs/photos -o model.onnx", "featcli export runs/photos -o whole.onnx --form whole"]
INFO = "featcli info whole.onnx --json > model.json"
# Fewer operators than the others: an export of it takes half the time of EfficientNet's.
MODEL = ["--backbone", "squeezenet1_1", "--set", "backbone.weights=none", "--C", "0.1"]
SQUARES = ["--set", "backbone.preprocess={resize: 40, crop: 32}"]
LOSSLESS = {"ant.png": "ants", "bee.png": "bees", "tall.png": "bees", "turned.png": "ants"}
OTHERS = ["hole.png", "mixed.png", "profile.png", "stranger.png", "turned.jpg"]
SERVED = ["index.html", "classify.mjs", "whole.onnx", "model.json"]
RUNTIME = ["ort.wasm.bundle.min.mjs", "ort-wasm-simd-threaded.wasm"]
# Runs a file as `python FILE ARGUMENTS` would, where neither featcli nor torch is installed.
WITHOUT = """
import runpy, sys
sys.modules.update(dict.fromkeys(("featcli", "torch", "torchvision", "onnx")))
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def blocks(language: str) -> list[str]:
    """The code of the page in one language, in order."""
    return re.findall(rf"^```{language}\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)


def tinted(label: str, seed: int, size: tuple[int, int]) -> Image.Image:
    """A scene behind red or green glass."""
    return Image.blend(scene(seed, size), Image.new("RGB", size, {"ants": "#f00", "bees": "#0f0"}[label]), 0.5)


@pytest.fixture(scope="module")
def edge(server: ForkServer, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the files that the page's commands write, its code, and images."""
    folder = tmp_path_factory.mktemp("edge")
    for number, label in enumerate(("ants", "bees")):
        (folder / "photos" / label).mkdir(parents=True)
        for index in range(28):
            size = (80 + 8 * (index % 4), 80)
            tinted(label, 100 * number + index, size).save(folder / "photos" / label / f"{index:02d}.png")
    done = server.run("train-head", "photos", *MODEL, *SQUARES, "-o", "runs/photos", cwd=folder)
    assert done.code == 0, done.stderr
    commands = [line for block in blocks("sh") for line in block.splitlines() if line.startswith("featcli")]
    assert commands == [*EXPORTS, INFO]
    running = [server.start(*shlex.split(line)[1:], cwd=folder) for line in EXPORTS]
    for each in running:
        done = each.wait()
        assert done.code == 0, done.stderr
    done = server.run(*shlex.split(INFO)[1:-2], cwd=folder)
    assert done.code == 0, done.stderr
    (folder / "model.json").write_bytes(done.stdout)
    write_code(folder)
    write_images(folder)
    return folder


def write_code(folder: Path) -> None:
    """The files that a reader makes of the page: each says its name."""
    exact, whole, more = blocks("python")
    module, script = blocks("js")
    [page] = blocks("html")
    for code in (exact, whole, module, script, page):
        (folder / re.search(r"[\w-]+\.(?:py|mjs|html)", code)[0]).write_text(code)
    (folder / "more.py").write_text(whole + more)


def write_images(folder: Path) -> None:
    """Images wide and tall, turned by EXIF, with transparency, with a colour profile; of both classes and of none."""
    upright = tinted("ants", 51, (160, 120))
    upright.save(folder / "ant.png")
    tinted("bees", 151, (96, 96)).save(folder / "bee.png")
    tinted("bees", 154, (75, 201)).save(folder / "tall.png")
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned clockwise
    lying = upright.transpose(Image.Transpose.ROTATE_90)
    lying.save(folder / "turned.png", exif=exif)
    lying.save(folder / "turned.jpg", exif=exif, quality=95)
    hole = upright.convert("RGBA")
    hole.paste((0, 0, 0, 0), (30, 30, 130, 90))
    hole.save(folder / "hole.png")
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    swapped = profile.replace(b"rXYZ", b"....").replace(b"gXYZ", b"rXYZ").replace(b"....", b"gXYZ")  # green is red
    upright.save(folder / "profile.png", icc_profile=swapped)
    Image.blend(upright, tinted("bees", 51, upright.size), 0.5).save(folder / "mixed.png")
    Image.new("RGB", (90, 90), "blue").save(folder / "stranger.png")


@pytest.fixture(scope="module")
def rows(edge: Path, server: ForkServer) -> dict[str, Any]:
    """What `predict` says of the images: rows by file and name."""
    found = {}
    for model in ("model.onnx", "whole.onnx"):
        done = server.run("predict", model, *LOSSLESS, *OTHERS, "--coverage", "0.9", cwd=edge)
        assert done.code == 0, done.stderr
        found[model] = {row["path"]: row for row in done.rows}
    return found


def python(folder: Path, script: str, image: str) -> list[str]:
    """The lines that a script prints of an image, in a process that can import neither featcli nor torch."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    command = [sys.executable, "-W", "error", "-c", WITHOUT, script, image]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def require_like(said: str, row: dict[str, Any], tolerance: float) -> None:
    """A label and its probability are those of a row."""
    label, probability = said.rsplit(" ", 1)
    assert label == row["label"]
    assert float(probability) == pytest.approx(row["confidence"], abs=tolerance), row["path"]


def test_the_images_tell_classes_apart_and_leave_doubt(rows: dict[str, Any]) -> None:
    found = rows["whole.onnx"]
    assert {name: found[name]["label"] for name in LOSSLESS} == LOSSLESS
    assert min(found[name]["confidence"] for name in LOSSLESS) < 0.95, "certainty would hide differences"
    assert found["stranger.png"]["novelty"] > 1 > found["ant.png"]["novelty"]


@pytest.mark.parametrize("name", ["ant.png", "tall.png", "turned.jpg"])
def test_python_with_squares_that_pillow_resized(edge: Path, rows: dict[str, Any], name: str) -> None:
    [said] = python(edge, "exact.py", name)
    require_like(said, rows["model.onnx"][name], 0.02)


@pytest.mark.parametrize("name", ["tall.png", "turned.png", "turned.jpg"])
def test_python_with_whole_images(edge: Path, rows: dict[str, Any], name: str) -> None:
    [said] = python(edge, "whole.py", name)
    require_like(said, rows["whole.onnx"][name], 1e-4 if name in LOSSLESS else 0.02)


@pytest.mark.parametrize("name", ["ant.png", "mixed.png", "stranger.png"])
def test_python_that_knows_when_it_does_not_know(edge: Path, rows: dict[str, Any], name: str) -> None:
    _, said = python(edge, "more.py", name)
    row = rows["whole.onnx"][name]
    if row["novelty"] > 1:
        assert said == "unlike the training images"
    else:
        assert said == f"90 %: {', '.join(sorted(row['set'])) or 'no class'}"


@pytest.fixture(scope="session")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder `node_modules` with onnxruntime-web, from npm."""
    for name in ("node", "npm"):
        if shutil.which(name) is None:
            pytest.skip(f"{name} is not installed")
    folder = tmp_path_factory.mktemp("npm")
    (folder / "package.json").write_text("{}")
    command = ["npm", "install", "--no-audit", "--no-fund", "--ignore-scripts", "--fetch-retries=0", "onnxruntime-web"]
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120)
    except subprocess.TimeoutExpired:
        pytest.skip("npm did not install onnxruntime-web in two minutes")
    if done.returncode:
        pytest.skip(f"npm cannot install onnxruntime-web: {done.stderr.partition(chr(10))[0]}")
    return folder / "node_modules"


def test_node(edge: Path, rows: dict[str, Any], packages: Path) -> None:
    (edge / "node_modules").symlink_to(packages)
    with Image.open(edge / "tall.png") as image:  # here, since node has no decoder
        (edge / "tall.rgba").write_bytes(image.convert("RGBA").tobytes())
        width, height = image.size
    command = ["node", "classify-file.mjs", "tall.rgba", str(width), str(height)]
    done = subprocess.run(command, cwd=edge, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0 and done.stderr == "", done.stderr
    said, row = json.loads(done.stdout), rows["whole.onnx"]["tall.png"]
    assert said["label"] == row["label"]
    assert said["probability"] == pytest.approx(row["confidence"], abs=1e-4)
    assert said["novelty"] == pytest.approx(row["novelty"], abs=1e-3)


class Quiet(http.server.SimpleHTTPRequestHandler):
    """Serves files without a word."""

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def address(edge: Path, packages: Path, tmp_path: Path) -> Iterator[str]:
    """The page, served with the files that the page says are enough, and no others."""
    library = Path("onnxruntime-web", "dist")
    (tmp_path / "node_modules" / library).mkdir(parents=True)
    for name in SERVED:
        shutil.copy(edge / name, tmp_path)
    for name in RUNTIME:
        assert name in PAGE
        shutil.copy(packages / library / name, tmp_path / "node_modules" / library)
    handler = functools.partial(Quiet, directory=tmp_path)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as serving:
        thread = threading.Thread(target=serving.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{serving.server_port}/"
        serving.shutdown()
        thread.join()


def test_a_page_in_a_browser(edge: Path, rows: dict[str, Any], address: str, browser: Any) -> None:
    context = browser.new_context(viewport={"width": 400, "height": 700})
    context.set_default_timeout(30_000)
    page = context.new_page()
    said: list[str] = []
    requests: list[str] = []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("request", lambda request: requests.append(request.url))
    page.goto(address)
    page.locator("input:enabled").wait_for()
    for name in (*LOSSLESS, "hole.png", "profile.png", "turned.jpg"):
        page.locator("input").set_input_files(edge / name)
        page.wait_for_function("document.querySelector('output').textContent")
        require_like(page.locator("output").inner_text(), rows["whole.onnx"][name], 0.02 if "jpg" in name else 1e-4)
    assert said == []
    assert all(url.startswith((address, f"blob:{address}", "data:")) for url in requests)
    context.close()
