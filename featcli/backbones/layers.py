"""Where in a backbone a feature is taken: the last Linear's input, or the pooled output of earlier stages."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from featcli.errors import BackboneOptionError
from featcli.text import did_you_mean

if TYPE_CHECKING:
    from torch import Tensor

PENULTIMATE = "penultimate"
POOLINGS = ("auto", "avg", "max", "cls", "flatten")


@dataclass(frozen=True, slots=True)
class Layer:
    """One or more places, whose vectors are concatenated in this order.

    Attributes:
        places: `penultimate`, or names of stages.
        pooling: of the stages' outputs: `avg` or `max` over the map (over the patches of a transformer), `cls` (the
            class token), `flatten` (everything); `auto` is `cls` where there is a class token, else `avg`.
    """

    places: tuple[str, ...] = (PENULTIMATE,)
    pooling: str = "auto"

    def __str__(self) -> str:
        pooled = "" if self.places == (PENULTIMATE,) or self.pooling == "auto" else f":{self.pooling}"
        return "+".join(self.places) + pooled

    @classmethod
    def parse(cls, text: str) -> Layer:
        """The inverse of `str`."""
        places, _, pooling = text.partition(":")
        return cls(tuple(places.split("+")), pooling or "auto")

    def check(self, backbone: str, stages: Sequence[str]) -> None:
        """Checks the names.

        Raises:
            BackboneOptionError: a place or a pooling that does not exist; the stages are listed.
        """
        for place in self.places:
            if place != PENULTIMATE and place not in stages:
                raise BackboneOptionError(
                    "layer",
                    f"{backbone} has no stage '{place}'{did_you_mean(place, [*stages, PENULTIMATE])}",
                    f"Its stages, input to output: {', '.join(stages)}; or {PENULTIMATE}.",
                )
        if self.pooling not in POOLINGS:
            raise BackboneOptionError("pooling", f"unknown pooling '{self.pooling}'", f"One of {', '.join(POOLINGS)}.")


def pool_output(output: Tensor, pooling: str, *, channels_last: bool, class_token: bool) -> Tensor:
    """From a stage's output to one vector per image.

    Args:
        output: a map (B, C, H, W), or (B, H, W, C) with `channels_last`; tokens (B, N, D); or vectors (B, D).
        pooling: one of `POOLINGS`.
        channels_last: how maps are laid out.
        class_token: whether the first token is one.

    Returns:
        (B, D).

    Raises:
        BackboneOptionError: `cls` where there is no class token.
    """
    if output.ndim == 2:
        return output
    tokens = _tokens(output, channels_last)  # (B, N, D)
    if pooling == "cls" and not class_token:
        raise BackboneOptionError("pooling", "pooling cls needs a class token, as vision transformers have")
    if pooling == "cls" or (pooling == "auto" and class_token):
        return tokens[:, 0]
    if pooling == "flatten":
        return output.flatten(1)
    patches = tokens[:, 1:] if class_token else tokens
    return patches.amax(dim=1) if pooling == "max" else patches.mean(dim=1)


def _tokens(output: Tensor, channels_last: bool) -> Tensor:
    if output.ndim == 3:
        return output
    return output.flatten(1, 2) if channels_last else output.flatten(2).transpose(1, 2)
