"""The options of a run: the only place that knows their names, defaults, ranges and help.

To add an option, add its line here. Messages, suggestions, paths relative to the file, `config.yaml` and the comparison
of runs are derived from the annotation. What a line cannot express (two options together) is a check of `Config`.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

from featcli.config.flag import Flag
from featcli.config.values import (
    ClassName,
    Count,
    Device,
    Duration,
    GreyRange,
    Grid,
    GroupPattern,
    KindOfHead,
    NotNegative,
    PathName,
    Positive,
    Precision,
    Share,
    Size,
    StageName,
    StageNames,
    Text,
    Weights,
    WeightsName,
)
from featcli.config.words import Words

_C_GRID = (1e-4, 1e-3, 1e-2, 1e-1, 1.0, 1e1, 1e2)


class Section(BaseModel):
    """What all sections share: closed, immutable, no conversions (a quoted number is not a number), no infinities."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class Data(Section):
    """Which images, and how they are split."""

    root: PathName | None = Field(
        default=None, description="Folder of images: root/train and root/val (and root/test), or root/CLASS."
    )
    manifest: PathName | None = Field(
        default=None, description="Instead of root: a CSV or Parquet file with columns path,label[,split][,group]."
    )
    val_fraction: float = Field(
        default=0.2,
        ge=0,
        lt=1,
        description="Share of each class for validation (of whole groups, as near as they allow), where the user "
        "made no such split; with 0 every image is trained on, and nothing is measured.",
    )
    test_fraction: float = Field(
        default=0.0, ge=0, lt=1, description="Share of each class for a test set that is read once, at the end."
    )
    group: Literal["group"] | GroupPattern | None = Field(
        default=None,
        description="What stays together, as one patient: a regular expression on the path, or a manifest's column.",
    )
    positive: ClassName | None = Field(
        default=None,
        description="Of two classes the one that is to be found: for sensitivity, specificity, average precision and "
        "thresholds.",
    )
    exclude: PathName | None = Field(
        default=None,
        description="Text file of paths to leave out, one a line: files, folders, or patterns where * is any text; "
        "or the table of check --deep, whose column exclude says yes.",
    )
    range: Literal["full", "auto"] | GreyRange = Field(
        default="full",
        description="Values of 16-bit grey that become black and white: full (0 to 65535), auto (0 to 255, 1023, 4095, "
        "16383 or 65535, as the training images need), or [low, high].",
    )
    decode: Literal["exact", "scaled"] = Field(
        default="exact",
        description="exact: all pixels of a JPEG; scaled: a large one shrinks while it is decoded, which is faster and "
        "gives slightly other features.",
    )
    limit: Count | None = Field(default=None, description="Only the first N images per class and split: smoke runs.")


class Preprocess(Section):
    """How an image becomes the backbone's input; what is null stays as the weights have it."""

    resize: Count | None = Field(default=None, description="Length of the shorter side after resizing, in pixels.")
    crop: Count | None = Field(default=None, description="Side of the central square that is kept, in pixels.")
    interpolation: Literal["nearest", "bilinear", "bicubic"] | None = Field(
        default=None, description="How pixels are resampled."
    )
    mean: tuple[float, float, float] | None = Field(
        default=None, description="Subtracted from red, green and blue, which lie in 0..1."
    )
    std: tuple[Positive, Positive, Positive] | None = Field(
        default=None, description="Divides red, green and blue after that."
    )


class Backbone(Section):
    """The pretrained model that reads the images."""

    name: Annotated[Annotated[Text, Words("a backbone's name")] | None, Flag("--backbone", "NAME")] = Field(
        default=None, description="Name as in torchvision.models, or efficientnet_lite0."
    )
    weights: Weights = Field(
        default="DEFAULT",
        description="DEFAULT, a torchvision weights name, none, a file (or FILE#KEY), or package:MODULE/FILE.",
    )
    preprocess: Literal["auto"] | WeightsName | Preprocess = Field(
        default="auto", description="auto (the weights' own), a torchvision weights name, or a mapping of what differs."
    )
    layer: StageName | StageNames = Field(
        default="penultimate", description="Where features are taken: penultimate, a stage's name, or a list of these."
    )
    pooling: Literal["auto", "avg", "max", "cls", "flatten"] = Field(
        default="auto", description="How the output of a stage becomes a vector; auto: cls of a transformer, else avg."
    )
    engine: Literal["auto", "torch", "openvino", "compile"] = Field(
        default="auto",
        description="What runs the model: auto (the fastest here that agrees with plain torch), torch, openvino (CPU, "
        "extra fast), or compile (torch.compile).",
    )
    freeze_depth: Annotated[
        Literal["all", "none"] | Annotated[int, Field(ge=0)] | StageName, Flag("--freeze-depth", "DEPTH")
    ] = Field(
        default="all", description="Leading stages that stay as they are: all, none, how many, or the last one's name."
    )


class Head(Section):
    """The new classifier on top of the features."""

    kind: Annotated[KindOfHead, Flag("--head", "KIND")] = Field(
        default="logistic",
        description="The classifier: logistic is fitted to its optimum in seconds; linear and mlp are trained by "
        "gradient descent.",
    )
    C: Annotated[Literal["auto"] | Positive | Grid, Flag("--C", "X")] = Field(
        default="auto",
        description="Inverse strength of the L2 penalty: auto (7 values, 1e-4 to 1e2, and 2 beyond an end that is "
        "chosen), a number, or a list to choose from.",
    )
    folds: int = Field(default=5, ge=2, description="Folds of the cross-validation that chooses C.")
    repeats: Annotated[int, Field(ge=2, le=1000)] | None = Field(
        default=None,
        description="Deal the folds anew so many times, and say how far the accuracy of held-out images varies.",
    )
    class_weight: Literal["none", "balanced"] = Field(
        default="none", description="balanced: every class weighs the same, however many images it has."
    )

    hidden: Count = Field(default=512, description="Width of the hidden layer of an mlp.")
    dropout: Share = Field(
        default=0.0, description="Dropout probability in front of the last layer of a linear or mlp head."
    )
    init: Literal["solved", "random"] = Field(
        default="solved",
        description="What gradient descent starts from: the fitted logistic head, or random weights (mlp: always).",
    )

    def candidates(self) -> tuple[float, ...]:
        """The values of C to choose from, ascending; one value where there is nothing to choose."""
        if isinstance(self.C, str):
            return _C_GRID
        return tuple(sorted(self.C)) if isinstance(self.C, tuple) else (self.C,)


class Train(Section):
    """How the head, and the stages past the freeze depth, are trained by gradient descent."""

    epochs: Annotated[Count, Flag("--epochs", "N")] = Field(default=10, description="Passes over the training images.")
    batch_size: Count = Field(
        default=32, description="Mini-batch size; the mini-batches of an epoch are of equal size."
    )
    optimizer: Literal["adamw", "sgd"] = Field(
        default="adamw", description="AdamW, or SGD with Nesterov momentum of 0.9."
    )
    lr: Annotated[NotNegative, Flag("--lr", "X")] = Field(
        default=5e-4, description="Learning rate of the head, after the warm-up."
    )
    weight_decay: NotNegative = Field(
        default=0.05, description="Decoupled decay (sgd: L2) of weights; norms and biases have none."
    )
    layer_decay: Annotated[float, Field(gt=0, le=1), Words("a number above 0 and at most 1")] = Field(
        default=0.8, description="Layer-wise learning-rate decay: factor per stage, from the head towards the input."
    )
    warmup_epochs: NotNegative = Field(default=1.0, description="Epochs in which the learning rate rises from zero.")
    schedule: Literal["cosine", "constant"] = Field(
        default="cosine", description="The learning rate after the warm-up: down to zero, or as it is."
    )
    clip_norm: Positive | None = Field(
        default=1.0, description="Maximum global gradient norm (clipping); null for none."
    )
    accumulate: Count = Field(default=1, description="Gradient accumulation: mini-batches per optimizer step.")
    label_smoothing: Share = Field(
        default=0.1, description="Label smoothing: share of each target that is spread over all classes."
    )
    mixup: NotNegative = Field(
        default=0.0,
        description="Mixes pairs of images, where the frozen stages end, by a share from Beta(mixup, mixup).",
    )
    cutmix: NotNegative = Field(
        default=0.0, description="Pastes a box of one image into another, where the frozen stages end; as mixup."
    )
    ema: Annotated[float, Field(gt=0, lt=1)] | None = Field(
        default=None,
        description="Decay of the exponential moving average of the weights, which is then what is validated and kept.",
    )
    augment: Literal["none", "flip", "light", "strong"] = Field(
        default="light", description="How training images vary; validation and prediction never do."
    )
    mirror: Annotated[Literal["auto"] | bool, Words("auto, true or false", ("auto",))] = Field(
        default="auto",
        description="Whether light and strong exchange left and right (flip does); auto: unless the names of the "
        "classes, or a trial on mirrored training images, say that it changes the class.",
    )
    views: Count | None = Field(
        default=None, description="Number of augmented views per image, computed once; null: a new one every epoch."
    )
    batch_norm: Literal["auto", "train", "eval"] = Field(
        default="auto",
        description="BatchNorm of what trains: statistics of the batch, or as pretrained; auto: the latter, but for "
        "batches of 32 or more under a head that starts random.",
    )
    monitor: Literal["accuracy", "macro_f1", "log_loss"] = Field(
        default="accuracy", description="What on the validation images decides which epoch is kept."
    )
    patience: Count | None = Field(default=None, description="Epochs without improvement after which training stops.")
    time_limit: Duration | None = Field(default=None, description="Training stops after so long, and keeps the best.")
    compile: bool = Field(default=False, description="Whether what trains is compiled first; needs a C++ compiler.")
    cache_limit: Size = Field(
        default="8GB",
        description="Disk for tensors where the frozen stages end; beyond it they are recomputed in every epoch.",
    )


class Loader(Section):
    """How images are read: changes the speed, never the result."""

    batch_size: int = Field(default=32, ge=1, description="Images per step of extraction and prediction.")
    workers: Literal["auto"] | Count = Field(default="auto", description="How many images are decoded at a time.")


class Config(Section):
    """All options of a run."""

    data: Data = Field(default=Data(), description="Which images, and how they are split.")
    backbone: Backbone = Field(default=Backbone(), description="The pretrained model that reads the images.")
    head: Head = Field(default=Head(), description="The new classifier on top of the features.")
    train: Train = Field(
        default=Train(),
        description="How the head, and the stages past the freeze depth, are trained by gradient descent.",
    )
    loader: Loader = Field(default=Loader(), description="How images are read: changes the speed, never the result.")
    output: PathName | None = Field(default=None, description="Folder of the run: checkpoint, metrics, predictions.")
    device: Device = Field(default="auto", description="Where to compute; auto takes the fastest device there is.")
    precision: Precision = Field(
        default="fp32", description="Floating-point precision of the backbone; fp32 means fp32: TF32 is off."
    )
    seed: int = Field(
        default=0, ge=0, lt=2**32, description="Random seed (splits, folds, shuffling, dropout, augmentation)."
    )

    @model_validator(mode="after")
    def _leaves_something_to_train_on(self) -> Config:
        val, test = self.data.val_fraction, self.data.test_fraction
        if val + test >= 1:
            raise PydanticCustomError(
                "together",
                "data.val_fraction and data.test_fraction must add up to less than 1, got {val} + {test}",
                {"val": f"{val:g}", "test": f"{test:g}", "keys": ("data.val_fraction", "data.test_fraction")},
            )
        return self

    @model_validator(mode="after")
    def _has_neighbours_to_normalise_with(self) -> Config:
        if self.train.batch_norm == "train" and self.train.batch_size == 1:
            raise PydanticCustomError(
                "together",
                "train.batch_norm: train needs more than one image in a batch: raise train.batch_size, or use auto",
                {"keys": ("train.batch_norm", "train.batch_size")},
            )
        return self

    @model_validator(mode="after")
    def _has_variants_to_draw(self) -> Config:
        if self.train.views is not None and self.train.augment in ("none", "flip"):
            raise PydanticCustomError(
                "together",
                "train.views draws variants of train.augment light or strong, and it is {augment}: {count}",
                {
                    "augment": self.train.augment,
                    "count": {"none": "one variant", "flip": "two variants, which are kept anyway"}[self.train.augment],
                    "keys": ("train.views", "train.augment"),
                },
            )
        return self

    @model_validator(mode="after")
    def _mirrors_where_it_flips(self) -> Config:
        if self.train.augment == "flip" and self.train.mirror is False:
            raise PydanticCustomError(
                "together",
                "train.augment: flip mirrors and does nothing else, and train.mirror is false: take light or strong, "
                "which vary without it, or none",
                {"keys": ("train.augment", "train.mirror")},
            )
        return self

    @model_validator(mode="after")
    def _names_images_once(self) -> Config:
        if self.data.root is not None and self.data.manifest is not None:
            raise PydanticCustomError(
                "together",
                "data.root and data.manifest both name the images: remove data.root, since a manifest's paths are "
                "relative to its own folder, or data.manifest, to take the folder as it is",
                {"keys": ("data.root", "data.manifest")},
            )
        return self

    @model_validator(mode="after")
    def _has_the_column_of_groups(self) -> Config:
        if self.data.group == "group" and self.data.root is not None:
            raise PydanticCustomError(
                "together",
                "data.group: group is the column of a manifest, and data.root is a folder; give a regular expression "
                "with one group, such as '([^/]+)_'",
                {"keys": ("data.group", "data.root")},
            )
        return self
