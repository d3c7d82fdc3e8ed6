"""Which head a run would fit, and how long that would take, found out without doing it."""

from __future__ import annotations

import time
from typing import Any

import torch

from featcli.data.dataset import Dataset
from featcli.heads.kind import NewHead, Workload
from featcli.heads.registry import build_head, find_head
from featcli.units import count_text, duration_text
from featcli.workflow.session import Session
from featcli.workflow.solving import choice_among

_STEPS = 5  # that are timed


def plan_head(session: Session, data: Dataset, n_features: int, *, finetuned: bool) -> dict[str, Any] | None:
    """The head that is fitted to stored features, of `train-head`, or that `finetune` starts from.

    Args:
        session: the invocation.
        data: the images.
        n_features: D.
        finetuned: whether stages are trained after it.

    Returns:
        `kind`, `choice` in words and `estimated_seconds`; None where a training starts from random weights.

    Raises:
        ConfigError: C cannot be chosen.
    """
    config, n = session.loaded.config, len(data.split("train"))
    kind = find_head(config.head.kind)
    if finetuned or kind.solve is None:
        starts_from = None if kind.gradient is None or config.head.init != "solved" else kind.gradient.starts_from
        if finetuned and starts_from is None:
            return None
        solved = _solved(session, starts_from, data, n_features) if starts_from else None
        if finetuned:
            return solved
        seconds = _trained_seconds(session, n, n_features, len(data.classes))
        before = 0.0 if solved is None else solved["estimated_seconds"] or 0.0
        steps = count_text(-(-n // config.train.batch_size), "step")
        epochs = f"{count_text(config.train.epochs, 'epoch')} of {steps}"
        return {"kind": config.head.kind, "choice": epochs, "estimated_seconds": round(before + seconds, 1)}
    return _solved(session, config.head.kind, data, n_features)


def head_line(plan: dict[str, Any]) -> str:
    """The plan in words."""
    seconds = plan["estimated_seconds"]
    return f"{plan['kind']}, {plan['choice']}" + ("" if seconds is None else f", {duration_text(seconds)} here")


def _solved(session: Session, name: str, data: Dataset, n_features: int) -> dict[str, Any]:
    folds, kind, train = session.loaded.config.head.folds, find_head(name), data.split("train")
    Cs = choice_among(session, data, train).Cs
    choice = f"C {Cs[0]:g}" if len(Cs) == 1 else f"C from {len(Cs)} values in {folds} folds"
    work = Workload(len(train), n_features, len(data.classes), len(Cs), folds)
    seconds = None if kind.seconds is None else round(kind.seconds(work), 1)
    return {"kind": name, "choice": choice, "estimated_seconds": seconds}


def _trained_seconds(session: Session, n: int, n_features: int, n_classes: int) -> float:
    """Of a head by gradient descent on stored features: some steps on random numbers, and as many as there will be."""
    config = session.loaded.config
    gradient = find_head(config.head.kind).gradient
    assert gradient is not None, "a kind is solved or trained"
    head = build_head(gradient, NewHead(config.head.hidden, config.head.dropout), n_features, n_classes, None)
    optimizer = torch.optim.AdamW(head.parameters())
    with torch.random.fork_rng(devices=[]):
        batch = torch.rand(min(n, config.train.batch_size), n_features)
        for step in range(_STEPS + 1):
            if step == 1:  # the first prepares kernels and the optimizer's state
                start = time.perf_counter()
            torch.autograd.backward(head(batch).logsumexp(1).sum())
            optimizer.step()
            optimizer.zero_grad()
    steps = config.train.epochs * -(-n // config.train.batch_size)
    return steps * (time.perf_counter() - start) / _STEPS
