"""What `bench_speed.py` compares: every contestant runs in a process of its own and writes what it took as JSON.

`python scripts/bench_contestants.py JOB.json`. A job names a contestant and what it needs; a contestant is a function
that gets ready and returns what turns paths into features. The first images are computed once before the clock starts:
imports, building, converting and the first pass count as start.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

BATCH = 32
PROBED, PASSES = 96, 3  # images of the ceiling, and passes over them
TIMM_NAMES = {"mobilenet_v3_small": "mobilenetv3_small_100", "vit_b_16": "vit_base_patch16_224"}
Extract = Callable[[Sequence[str]], np.ndarray]


@dataclass
class Job:
    """What a contestant is asked for.

    Attributes:
        contestant: a key of `CONTESTANTS`, or what is to be made.
        backbone: torchvision's name.
        models: folder of what is made once: weights, presets, ONNX and OpenVINO models.
        photos: paths of the images.
        warm: paths of the first of them, in a folder of their own.
        features: file for the features.
        report: file for what it took.
        cores: threads and workers.
        spawned: seconds since 1970, when the process was begun.
    """

    contestant: str
    backbone: str
    models: str
    photos: list[str]
    warm: list[str]
    features: str
    report: str
    cores: int
    spawned: float

    def file(self, ending: str) -> Path:
        """One of the backbone's files."""
        return Path(self.models) / f"{self.backbone}{ending}"

    @property
    def preset(self) -> dict[str, Any]:
        """resize, crop, interpolation, mean, std."""
        facts = json.loads(self.file(".json").read_text())
        del facts["entry"]
        return facts


def prepare(job: Job) -> dict[str, Any]:
    """Writes random weights that the builder gives, and the preset of the published ones.

    BatchNorm's statistics are those of some photographs, and ConvNeXt's layer scale is 0.1: as they are built, the
    activations of some networks vanish, and no engine could differ from another.
    """
    import torch
    from torchvision import models

    entry = models.get_model_weights(job.backbone).DEFAULT
    preset = entry.transforms()
    facts = {
        "entry": entry.name,
        "resize": preset.resize_size[0],
        "crop": preset.crop_size[0],
        "mean": preset.mean,
        "std": preset.std,
    }
    job.file(".json").write_text(json.dumps({**facts, "interpolation": preset.interpolation.value}))
    torch.manual_seed(0)
    network = models.get_model(job.backbone, weights=None).train()
    for name, parameter in network.named_parameters():
        if name.endswith("layer_scale"):
            torch.nn.init.constant_(parameter, 0.1)
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = None  # the mean of all passes
    transform = tutorial_transform(job)
    with torch.no_grad():
        network(torch.stack([opened(path, transform) for path in job.warm]))
    torch.save(network.state_dict(), job.file(".pth"))
    return {}


def prepare_onnx(job: Job) -> dict[str, Any]:
    """Writes the network as ONNX, any number of images at once."""
    import torch

    torch.onnx.export(
        torch_network(job),
        (torch.zeros(2, 3, *[job.preset["crop"]] * 2),),
        str(job.file(".onnx")),
        dynamo=True,
        input_names=["images"],
        output_names=["features"],
        dynamic_shapes=({0: torch.export.Dim.DYNAMIC},),
        external_data=False,
        verbose=False,
    )
    return {}


def opened(path: str, transform: Callable[[Image.Image], Any]) -> Any:
    """An image as PIL reads it, transformed."""
    with Image.open(path) as image:
        return transform(image.convert("RGB"))


def whole_network(job: Job) -> Any:
    import torch
    from torchvision import models

    network = models.get_model(job.backbone, weights=None)
    network.load_state_dict(torch.load(job.file(".pth"), weights_only=True))
    return network


def torch_network(job: Job) -> Any:
    """The network in eval mode, without its last Linear."""
    import torch

    network = whole_network(job)
    last = [name for name, module in network.named_modules() if isinstance(module, torch.nn.Linear)][-1]
    network.set_submodule(last, torch.nn.Identity())
    return network.eval()


def tutorial_transform(job: Job) -> Callable[[Image.Image], Any]:
    from torchvision.transforms import InterpolationMode
    from torchvision.transforms._presets import ImageClassification

    preset = job.preset
    return ImageClassification(
        crop_size=preset["crop"],
        resize_size=preset["resize"],
        mean=preset["mean"],
        std=preset["std"],
        interpolation=InterpolationMode(preset["interpolation"]),
    )


class Photographs:
    """A data set as torch's DataLoader takes it."""

    def __init__(self, paths: Sequence[str], transform: Callable[[Image.Image], Any]) -> None:
        self.paths, self.transform = paths, transform

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> Any:
        return opened(self.paths[index], self.transform)


def computed(network: Any, batches: Iterable[Any]) -> np.ndarray:
    import torch

    with torch.no_grad():
        return torch.cat([network(images).flatten(1) for images in batches]).numpy()


def tutorial(job: Job) -> Extract:
    """DataLoader with two workers, PIL, the preset's transforms, eager fp32, channels first."""
    from torch.utils.data import DataLoader

    network, transform = torch_network(job), tutorial_transform(job)
    return lambda paths: computed(network, DataLoader(Photographs(paths, transform), batch_size=BATCH, num_workers=2))


def featcli(engine: str, precision: str = "fp32", decode: str = "exact") -> Callable[[Job], Extract]:
    """The library's own stream of features, nothing stored, a compiled model kept."""

    def ready(job: Job) -> Extract:
        from featcli.data.readers.files import file_ref
        from featcli.features.extraction import Extractor

        backbone, running = featcli_engine(job, engine, precision, decode)
        extractor = Extractor(backbone, running[1], running[0])

        def extract(paths: Sequence[str]) -> np.ndarray:
            batches = extractor.stream(map(file_ref, paths), batch_size=BATCH)
            return np.stack([row.feature for batch in batches for row in batch])

        return extract

    return ready


def featcli_engine(job: Job, engine: str, precision: str, decode: str = "exact") -> tuple[Any, tuple[Any, Any]]:
    """The backbone, then the engine and its runtime."""
    from featcli.backbones.weights import load_backbone
    from featcli.events import ignore
    from featcli.features.engines.models import KeptModel, ModelCache
    from featcli.features.engines.openvino import OpenVino, convert, describe_model
    from featcli.features.engines.plain import PlainTorch
    from featcli.runtime import decide_runtime

    runtime = decide_runtime("cpu", precision)
    backbone = load_backbone(job.backbone, str(job.file(".pth")), preprocess=job.preset, emit=ignore)
    backbone = replace(backbone, preprocessing=replace(backbone.preprocessing, decode=decode))
    if engine == "torch":
        return backbone, (PlainTorch(backbone, runtime), runtime)
    models = ModelCache(Path(job.models) / "featcli")
    described = describe_model(backbone, precision)
    key = models.key(described)
    if models.load(key) is None:
        models.keep(key, described, KeptModel(None), convert(backbone, precision))
    return backbone, (OpenVino(backbone, runtime, models, lambda: backbone), runtime)


def onnx_session(job: Job) -> Callable[[np.ndarray], np.ndarray]:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = job.cores
    session = onnxruntime.InferenceSession(str(job.file(".onnx")), options, providers=["CPUExecutionProvider"])
    return lambda images: session.run(None, {"images": images})[0]


def openvino_session(job: Job, precision: str | None) -> Callable[[np.ndarray], np.ndarray]:
    """Converted by OpenVINO itself and kept as its own file."""
    import openvino

    path, crop = job.file(".xml"), job.preset["crop"]
    if not path.exists():
        import torch

        model = openvino.convert_model(
            torch_network(job), example_input=torch.zeros(2, 3, crop, crop), input=[(-1, 3, crop, crop)]
        )
        openvino.save_model(model, path, compress_to_fp16=False)
    hints = {} if precision is None else {"INFERENCE_PRECISION_HINT": precision}
    compiled = openvino.compile_model(path, "CPU", hints)
    return lambda images: np.array(compiled(images)[0])


def plain_loop(session: Callable[[Job], Callable[[np.ndarray], np.ndarray]]) -> Callable[[Job], Extract]:
    """Batches of 32: a pool of threads opens and resizes as PIL does, then the session runs, and nothing overlaps."""

    def ready(job: Job) -> Extract:
        run, transform = session(job), tutorial_transform(job)
        pool = ThreadPoolExecutor(job.cores)

        def load(path: str) -> np.ndarray:
            return opened(path, transform).numpy()

        def extract(paths: Sequence[str]) -> np.ndarray:
            starts = range(0, len(paths), BATCH)
            batches = (np.stack(list(pool.map(load, paths[start : start + BATCH]))) for start in starts)
            return np.concatenate([run(images).reshape(len(images), -1) for images in batches])

        return extract

    return ready


def timm_loop(job: Job) -> Extract:
    """Its own model of that architecture with random weights, its data set and its loader with two workers."""
    import timm
    from timm.data import create_dataset, create_loader, resolve_data_config

    network = timm.create_model(TIMM_NAMES.get(job.backbone, job.backbone), pretrained=False, num_classes=0).eval()
    chosen = resolve_data_config({}, model=network)
    config = {name: chosen[name] for name in ("input_size", "interpolation", "mean", "std", "crop_pct")}

    def extract(paths: Sequence[str]) -> np.ndarray:
        data = create_dataset("", root=str(Path(paths[0]).parents[1]))
        loader = create_loader(
            data, batch_size=BATCH, use_prefetcher=False, num_workers=2, persistent_workers=False, **config
        )  # fmt: skip
        return computed(network, (images for images, _ in loader))

    return extract


def img2vec(job: Job) -> Extract:
    """img2vec-pytorch with our weights in place of those that it would download; 32 images at once."""
    from img2vec_pytorch import img_to_vec

    img_to_vec.resnet18 = lambda weights: whole_network(job)
    maker = img_to_vec.Img2Vec(cuda=False, model="resnet18")

    def batches(paths: Sequence[str]) -> Iterator[np.ndarray]:
        for start in range(0, len(paths), BATCH):
            yield maker.get_vec([opened(path, lambda image: image) for path in paths[start : start + BATCH]])

    return lambda paths: np.concatenate(list(batches(paths))).reshape(len(paths), -1)


def fastembed(job: Job) -> Extract:
    """Its resnet50 with our weights as ONNX; it has no other of these backbones."""
    from fastembed import ImageEmbedding

    preset, folder = job.preset, job.file("-fastembed")
    folder.mkdir(exist_ok=True)
    (folder / "model.onnx").write_bytes(job.file(".onnx").read_bytes())
    config = {
        "do_resize": True, "size": {"shortest_edge": preset["resize"]}, "resample": 2, "do_center_crop": True,
        "crop_size": preset["crop"], "do_rescale": True, "rescale_factor": 1 / 255, "do_normalize": True,
        "image_mean": preset["mean"], "image_std": preset["std"],
    }  # fmt: skip
    (folder / "preprocessor_config.json").write_text(json.dumps(config))
    maker = ImageEmbedding("Qdrant/resnet50-onnx", threads=job.cores, specific_model_path=str(folder))
    return lambda paths: np.stack(list(maker.embed(list(paths), batch_size=BATCH)))


CONTESTANTS: dict[str, Callable[[Job], Extract]] = {
    "tutorial": tutorial,
    "featcli-torch": featcli("torch"),
    "featcli-openvino": featcli("openvino"),
    "featcli-openvino-bf16": featcli("openvino", "bf16"),
    "featcli-openvino-scaled": featcli("openvino", decode="scaled"),
    "featcli-torch-scaled": featcli("torch", decode="scaled"),
    "loop-onnxruntime": plain_loop(onnx_session),
    "loop-openvino": plain_loop(lambda job: openvino_session(job, "f32")),
    "loop-openvino-default": plain_loop(lambda job: openvino_session(job, None)),
    "timm": timm_loop,
    "img2vec-pytorch": img2vec,
    "fastembed": fastembed,
}


def ceiling(job: Job) -> dict[str, Any]:
    """Seconds of an image: read and decoded by one thread, exactly and scaled; through each engine on all cores."""
    from featcli.data.pixels.loading import load_pixels
    from featcli.data.readers.files import file_ref
    from featcli.features.engines.engine import forward

    facts: dict[str, Any] = {"forward": {}}
    for engine, precision in (("torch", "fp32"), ("openvino", "fp32"), ("openvino", "bf16")):
        try:
            backbone, (running, _) = featcli_engine(job, engine, precision)
        except Exception as error:  # an engine that is not here
            print(f"{engine} {precision}: {error}", file=sys.stderr)
            continue
        if "exact" not in facts:
            refs = [file_ref(path) for path in job.photos[:PROBED]]
            for decode in ("exact", "scaled"):
                chosen = replace(backbone.preprocessing, decode=decode)

                def decoded(some: Any, chosen: Any = chosen) -> list[Any]:
                    return [load_pixels(ref, chosen.pixels, decoding=chosen.decoding).value for ref in some]

                facts[decode] = seconds_each(decoded, refs)
            pixels = (decoded(refs) * PROBED)[:PROBED]  # whole tiles, where there are few photographs
        facts["forward"][f"{engine} {precision}"] = seconds_each(lambda some, by=running: forward(by, some), pixels)
    try:
        run = onnx_session(job)
        images = np.zeros((BATCH, 3, job.preset["crop"], job.preset["crop"]), np.float32)
        facts["forward"]["onnxruntime fp32"] = seconds_each(run, images)
    except Exception as error:
        print(f"onnxruntime: {error}", file=sys.stderr)
    return facts


def seconds_each(work: Callable[[Any], Any], images: Any) -> float:
    """The best of some passes: other work on the machine lowers no ceiling."""
    work(images[:BATCH])
    best = float("inf")
    for _ in range(PASSES):
        start = time.perf_counter()
        work(images)
        best = min(best, time.perf_counter() - start)
    return best / len(images)


def main() -> None:
    job = Job(**json.loads(Path(sys.argv[1]).read_text()))
    actions = {"prepare": prepare, "prepare-onnx": prepare_onnx, "ceiling": ceiling}
    if job.contestant in actions:
        facts = actions[job.contestant](job)
    else:
        extract = CONTESTANTS[job.contestant](job)
        extract(job.warm)
        start, clock = time.time() - job.spawned, time.perf_counter()
        features = extract(job.photos)
        facts = {"start": start, "seconds": time.perf_counter() - clock, "images": len(features)}
        np.save(job.features, features)
    Path(job.report).write_text(json.dumps(facts))


if __name__ == "__main__":
    main()
