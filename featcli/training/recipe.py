"""How something is trained by gradient, as one value."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """The choices that the loop knows.

    Attributes:
        epochs: passes over the training examples.
        batch_size: most examples in a batch; the batches of an epoch differ by at most one.
        accumulate: batches whose gradients make one step.
        optimizer: `adamw`, or `sgd` with Nesterov momentum.
        lr: of the head, after the warm-up.
        weight_decay: of weights; norms and biases have none.
        layer_decay: factor of the learning rate from a stage to the one before it.
        warmup_epochs: in which the learning rate rises linearly from zero.
        schedule: `cosine` to zero, or `constant`.
        clip_norm: longest gradient; None for any.
        label_smoothing: share of each target that is spread over all classes.
        mixup: parameter of the Beta distribution that pairs are mixed by; 0 for none.
        cutmix: likewise, for boxes.
        ema: decay of the moving average of the weights; None for none.
        monitor: `accuracy`, `macro_f1` (largest is best) or `log_loss` (smallest).
        patience: epochs without improvement before training stops; None for never.
        time_limit: seconds after which it stops; None for never.
        class_weights: of each class in the loss; None for equal.
        seed: of the order, of dropout, and of what is mixed.
    """

    epochs: int
    batch_size: int
    accumulate: int
    optimizer: str
    lr: float
    weight_decay: float
    layer_decay: float
    warmup_epochs: float
    schedule: str
    clip_norm: float | None
    label_smoothing: float
    mixup: float
    cutmix: float
    ema: float | None
    monitor: str
    patience: int | None
    time_limit: float | None
    class_weights: tuple[float, ...] | None
    seed: int

    def lr_factor(self, step: int, steps_per_epoch: int) -> float:
        """The factor of `lr`, from 0 to 1, in a step counted from 0 over all epochs.

        Cosine annealing without restarts: Loshchilov and Hutter, 2017 (arXiv 1608.03983).
        """
        warmup = self.warmup_epochs * steps_per_epoch
        if step < warmup:
            return (step + 1) / (warmup + 1)
        if self.schedule == "constant":
            return 1.0
        rest = max(1.0, self.epochs * steps_per_epoch - warmup)
        return 0.5 * (1 + math.cos(math.pi * min(1.0, (step - warmup) / rest)))
