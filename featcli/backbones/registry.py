"""The table of backbones: what all providers have, by name."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from featcli.backbones.architecture import Architecture, Provider
from featcli.backbones.providers import own, torchvision
from featcli.errors import BackboneOptionError
from featcli.text import did_you_mean

_PROVIDERS: list[Provider] = [own, torchvision]  # of two that have a name, the first gives it


def names() -> list[str]:
    """All backbones, sorted."""
    return sorted({name for provider in _PROVIDERS for name in provider.names()})


def find_architecture(name: str) -> Architecture:
    """Looks a backbone up with one provider after the other.

    Raises:
        BackboneOptionError: there is none of that name (the nearest are named), or it does not classify images.
    """
    for provider in _PROVIDERS:
        if name in provider.names():
            return provider.find(name)
    known = names()
    for provider in _PROVIDERS:
        reason = provider.why_not(name, known)
        if reason is not None:
            raise reason
    message = f"unknown backbone '{name}'{did_you_mean(name, known)}"
    raise BackboneOptionError("name", message, "All backbones: featcli models")


@contextmanager
def registered(provider: Provider) -> Iterator[None]:
    """Asks one more provider, after the others, within a `with`: for programs that bring networks of their own."""
    _PROVIDERS.append(provider)
    try:
        yield
    finally:
        _PROVIDERS.remove(provider)
