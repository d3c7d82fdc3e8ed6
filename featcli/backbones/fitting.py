"""Which of the state dicts in a file a network takes, and which networks take a state dict."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from featcli.backbones.architecture import Architecture, PretrainedEntry, State
from featcli.backbones.building import Misfit, build_network, compare
from featcli.backbones.registry import find_architecture, names
from featcli.backbones.stages import Built, Partition
from featcli.backbones.weight_forms import FLOATS, StateDict
from featcli.config.known_backbones import TENSORS
from featcli.errors import WeightsError
from featcli.text import did_you_mean, first_few

_TRIED = 4  # backbones that are built for a state dict of which the table cannot tell enough
# First words of what lies beside a backbone and is none of it: heads, losses, queues of contrastive learning.
_BESIDE = frozenset(
    "head heads fc classifier linear mlp projector projection projection_head proj_head predictor prototypes criterion "
    "loss loss_fn loss_function queue queue_ptr n_averaged aux1 aux2 aux_head AuxLogits train_acc val_acc".split()
)


@dataclass(frozen=True, slots=True)
class Fit:
    """A state dict and the network that takes it.

    Attributes:
        held: the state dict, as the file has it.
        entry: the published weights whose preprocessing and arguments suit it.
        built: the network, without storage and without its last Linear.
        given: its tensors under the network's names.
        head: rows of the last Linear in the file: how many classes it was trained on; None where there is none.
        beside: how many tensors of the same entry are not the backbone's, its last Linear apart.
    """

    held: StateDict
    entry: PretrainedEntry
    built: Built
    given: State
    head: int | None
    beside: int


class Network:
    """An architecture to try state dicts on; each form of it is built once."""

    def __init__(self, architecture: Architecture, entry: PretrainedEntry | None = None) -> None:
        """Takes the published entry that the file is known to be; None where it is not."""
        self.architecture = architecture
        self._entry = entry
        self._built: dict[str, Built] = {}

    def try_on(self, held: StateDict) -> Fit | Misfit:
        """How a state dict fits: exactly, but for the last Linear and what lies beside a backbone, or not."""
        architecture = self.architecture
        entry = self._entry or architecture.likely_entry(held.tensors) or architecture.default
        built = self._build(entry.arguments)
        wanted = built.network.state_dict()
        misfit = None
        for state in self._namings(held.tensors, built):
            given, beside = _backbone_part(state, built.partition, wanted)
            found = compare(wanted, given)
            if not found.words:
                linear = state.get(f"{built.partition.linear}.weight")
                return Fit(held, entry, built, given, None if linear is None else len(linear), held.beside + beside)
            misfit = misfit or found
        assert misfit is not None, "there is a naming"
        return misfit

    def _namings(self, tensors: State, built: Built) -> Iterator[State]:
        """As the file has them, but for what the architecture converts; then as the children of an `nn.Sequential`."""
        yield self.architecture.convert(tensors)
        if all(name.split(".")[0].isdigit() for name in tensors):
            yield numbered(tensors, [name for name, _ in built.network.named_children()])

    def _build(self, arguments: Mapping[str, Any]) -> Built:
        key = repr(sorted(arguments.items()))
        if key not in self._built:
            self._built[key] = build_network(self.architecture, arguments, None)
        return self._built[key]


def choose(network: Network, held: Sequence[StateDict], what: str, key: str | None = None) -> Fit:
    """The one state dict that the network takes.

    Args:
        network: that is wanted.
        held: of a file.
        what: the file, in messages.
        key: of `FILE#KEY`: an entry or a beginning of names; None for any.

    Raises:
        WeightsError: none fits, several that differ fit, or the key names nothing.
    """
    chosen = held if key is None else named(held, key, what)
    tried = [(state, network.try_on(state)) for state in chosen]
    fits = distinct([fit for _, fit in tried if isinstance(fit, Fit)])
    if len(fits) > 1:
        keys = [f"{what}#{fit.held.key}" if fit.held.key else what for fit in fits]
        raise WeightsError(
            f"{what} holds {len(fits)} different state dicts that fit {network.architecture.name}",
            f"Choose one by its key, backbone.weights: {' or '.join(keys)}",
        )
    if not fits:
        misfits = [(state, misfit) for state, misfit in tried if isinstance(misfit, Misfit)]
        raise _no_fit(network, misfits, what, chosen)
    require_plain(fits[0], what)
    return fits[0]


def distinct(fits: Sequence[Fit]) -> list[Fit]:
    """Of those with the same tensors, the first."""
    found: list[Fit] = []
    for fit in fits:
        if not any(_same(fit.given, other.given) for other in found):
            found.append(fit)
    return found


def fitting_backbones(held: StateDict) -> list[tuple[str, Fit]]:
    """The backbones of the table that take a state dict, with how it fits.

    Few are built: a table tells the first tensor, and the number of tensors and of values, of each.
    """
    plausible = [name for difference, _, name in _similar(held) if difference >= 0][:_TRIED]
    fits = [(name, Network(find_architecture(name)).try_on(held)) for name in plausible]
    return [(name, fit) for name, fit in fits if isinstance(fit, Fit)]


def nearest_backbone(held: Sequence[StateDict]) -> tuple[str, StateDict, Misfit] | None:
    """The backbone that one of several state dicts is most like, that state dict and how it differs.

    Returns:
        None where one fits, or none has half of its tensors in common with a backbone.
    """
    best: tuple[int, str, StateDict, Misfit] | None = None
    for state in held:
        similar = _similar(state)
        by_count = sorted(similar, key=lambda item: (abs(item[0]), item[1]))
        by_values = sorted(similar, key=lambda item: item[1])
        for name in dict.fromkeys(name for _, _, name in by_count[:_TRIED] + by_values[:_TRIED]):
            found = Network(find_architecture(name)).try_on(state)
            if isinstance(found, Fit):
                return None
            right = _right(state, found)
            if 2 * right >= len(state.tensors) and (best is None or right > best[0]):
                best = (right, name, state, found)
    return None if best is None else best[1:]


def _similar(held: StateDict) -> list[tuple[int, int, str]]:
    """The backbones of the table with the same first tensor, or as many tensors and values: how many more tensors the
    state dict has, how much its number of values differs, and the name; sorted.
    """
    tensors = {name: tensor for name, tensor in held.tensors.items() if not name.endswith("num_batches_tracked")}
    count, values = len(tensors), sum(tensor.numel() for tensor in tensors.values())
    known = set(names())
    similar = []
    for name, (first, least, size) in TENSORS.items():
        if name in known:
            convert = find_architecture(name).convert
            if first in (tensors if convert is dict else convert(tensors)) or (count, values) == (least, size):
                similar.append((count - least, abs(values - size), name))
    return sorted(similar)


def require_plain(fit: Fit, what: str) -> None:
    """Checks that a backbone's tensors are numbers that can be computed with.

    Raises:
        WeightsError: quantised, sparse or without storage; or NaN or infinity among them.
    """
    wanted = fit.built.network.state_dict()
    for name, tensor in fit.given.items():
        if tensor.layout != torch.strided or tensor.is_meta:
            raise WeightsError(f"{what}: the tensor {name} is sparse or has no values", _SAVE_PLAIN)
        if not wanted[name].is_floating_point():
            continue
        if tensor.is_quantized or tensor.dtype not in FLOATS:
            raise WeightsError(
                f"{what}: the tensor {name} is {_dtype(tensor)}, not float: quantised weights are not read",
                "Name the file from before they were quantised.",
            )
        bad = int((~torch.isfinite(tensor.float())).sum())
        if bad:
            raise WeightsError(
                f"{what}: the tensor {name} holds NaN or infinity ({bad} of {tensor.numel()} values)",
                "The weights are damaged, or their training diverged: name others.",
            )


def numbered(state: State, children: Sequence[str]) -> State:
    """The tensors of `nn.Sequential(*network.children())` under the network's own names."""
    renamed = {}
    for name, tensor in state.items():
        number, _, rest = name.partition(".")
        renamed[f"{children[int(number)]}.{rest}" if int(number) < len(children) else name] = tensor
    return renamed


_SAVE_PLAIN = "Save a plain state dict: torch.save(model.state_dict(), 'weights.pth')."


def _backbone_part(state: State, partition: Partition, wanted: Mapping[str, Tensor]) -> tuple[State, int]:
    """Without the last Linear (any class count is fine), auxiliary heads and what lies beside, which is counted."""
    head = (f"{partition.linear}.",) if partition.linear is not None else ()
    foreign = _BESIDE - {name.split(".")[0] for name in wanted}
    part = {name: tensor for name, tensor in state.items() if not name.startswith((*head, *partition.dropped))}
    kept = {name: tensor for name, tensor in part.items() if name.split(".")[0] not in foreign}
    return kept, len(part) - len(kept)


def named(held: Sequence[StateDict], key: str, what: str) -> list[StateDict]:
    """The state dicts that a key of `FILE#KEY` names: that of this key first, then those below it.

    Raises:
        WeightsError: none.
    """
    exact = [state for state in held if state.key == key]
    found = exact + [state for state in held if state.key.startswith(f"{key}.")]
    if not found:
        # Those of the fewest words first: entries, rather than blocks of a network.
        keys = sorted({state.key for state in held if state.key and len(state.tensors) > 1}, key=_words_and_name)
        some = f"It has {first_few(keys, 8)}." if keys else "It is one state dict, with no keys: leave #KEY away."
        raise WeightsError(f"{what} has nothing under '{key}'{did_you_mean(key, keys)}", some)
    return found


def _words_and_name(key: str) -> tuple[int, str]:
    return key.count("."), key


def _same(one: State, other: State) -> bool:
    return one.keys() == other.keys() and all(
        tensor is other[name] or (tensor.shape == other[name].shape and torch.equal(tensor, other[name]))
        for name, tensor in one.items()
    )


def _no_fit(
    network: Network, misfits: Sequence[tuple[StateDict, Misfit]], what: str, held: Sequence[StateDict]
) -> WeightsError:
    """The error with what fits best, and what it would fit."""
    name = network.architecture.name
    state, misfit = max(misfits, key=lambda item: (_right(*item), -len(item[0].prefix), len(item[0].tensors)))
    others = list(dict.fromkeys(other for state in held for other, _ in fitting_backbones(state)))
    at = f" ('{state.key}')" if state.key else ""
    message = f"the weights of {what}{at} do not fit {name}; tensors: {misfit.words}"
    if others:
        return WeightsError(message, f"They fit {others[0]}: set backbone.name: {others[0]}.")
    if misfit.missing and not misfit.unexpected and all(".running_" in tensor for tensor in misfit.missing):
        step = "BatchNorm's statistics are no parameters: save model.state_dict(), not model.named_parameters()."
        return WeightsError(message, step)
    if len(misfit.shapes) == 1 and not (misfit.missing or misfit.unexpected):
        channels = f" {name} takes images of 3 channels." if "x1x" in misfit.words else ""
        return WeightsError(message, f"All else fits: was this layer changed?{channels}")
    return WeightsError(message, f"Are they of another architecture? `featcli doctor --weights {what}` shows them.")


def _right(state: StateDict, misfit: Misfit) -> int:
    return len(state.tensors) - len(misfit.unexpected) - len(misfit.shapes)


def _dtype(tensor: Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")
