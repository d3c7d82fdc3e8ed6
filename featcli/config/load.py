"""One config out of a file, `--set` and flags; all that is wrong with them, at once."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from pydantic import ValidationError

from featcli.config.backbones import WrongNames, name_problems
from featcli.config.check import Given, check, options
from featcli.config.schema import Config
from featcli.config.short_flags import SHORT_FLAGS
from featcli.config.sources import Place, Problem, Source, from_file, from_flag, from_set, from_short_flag
from featcli.errors import ConfigError
from featcli.files import is_weights_file, weights_place
from featcli.text import listing

_FLAGS = {"output": ("-o DIR",)} | {flag.key: (f"{flag.flag} {flag.metavar}",) for flag in SHORT_FLAGS}
_CHOSEN = "chosen"  # where a value was given that the user did not give
_EITHER = {"data.root": "data.manifest"}  # the other option that will do


@dataclass(frozen=True, slots=True)
class LoadedConfig:
    """A valid config, and where each of its values was given.

    Args:
        config: every option, defaults filled in, paths absolute.
        places: where the options that were given were given, by dotted key.
        file: the config file as the user named it, or None.
    """

    config: Config
    places: Mapping[str, Place]
    file: str | None

    def where(self, key: str) -> str:
        """The place of a value: `cats.yaml:7:9`, `--set`, the flag, or `default`."""
        place = self._place(key)
        return place.where if place else "default"

    def error(self, key: str, message: str, hint: str | None = None) -> ConfigError:
        """An error about the value of an option, to be raised by whoever finds it wrong.

        Args:
            key: the option, dotted.
            message: what is wrong with the value: `unknown backbone 'resnt18'`.
            hint: the next step, a sentence of its own.
        """
        place = self._place(key)
        return ConfigError([place.message(message, key) if place else f"{key}: {message}"], hint)

    def require(self, *keys: str) -> None:
        """Checks that options without a default were given.

        Raises:
            ConfigError: some were not; it names all of them, and how to give each.
        """
        missing = [key for key in keys if all(self._value(name) is None for name in _ways(key))]
        if missing:
            raise ConfigError(self._needed(key) for key in missing)

    def _needed(self, key: str) -> str:
        settings = [f"--set {name}=..." for name in _ways(key)]
        flags = [*_FLAGS.get(key, ()), *(() if self.file else ("--config FILE",)), *settings]
        ways = f"add it to {self.file}, or give {listing(flags)}" if self.file else f"give {listing(flags)}"
        place = self._place(key)
        text = f"{listing(_ways(key))} is needed{', not null' if place else ''}: {ways}"
        return place.message(text) if place else text

    def is_given(self, key: str) -> bool:
        """Whether an option was given, be it with its default."""
        return key in self.places

    def changes(self, key: str) -> bool:
        """Whether an option was given another value than its default."""
        return key in self.places and self._value(key) != _value_of(Config(), key)

    def on_command_line(self) -> dict[str, str]:
        """The options that were given by `--set` or a flag, in that order: how each is to be named there."""
        given = [
            (place.order, key, place)
            for key, place in self.places.items()
            if not place.in_file and place.where != _CHOSEN
        ]
        return {key: key if place.where == "--set" else place.where for _, key, place in sorted(given, key=_order)}

    def _value(self, key: str) -> Any:
        return _value_of(self.config, key)

    def _place(self, key: str) -> Place | None:
        """The place of the value, else of the mapping around it, else of the first key in it."""
        if key in self.places:
            return self.places[key]
        if key not in _known_keys():
            raise KeyError(key)  # a slip of ours, not of the user's
        around = [place for other, place in self.places.items() if key.startswith(f"{other}.")]
        within = [place for other, place in self.places.items() if other.startswith(f"{key}.")]
        return next(iter([*around, *within]), None)


class Spelled(str):
    """The value of a flag as it was typed, which is read as that of a `--set`."""

    __slots__ = ()


def _order(given: tuple[Any, str, Place]) -> Any:
    return given[0]


def _value_of(config: Config, key: str) -> Any:
    value: Any = config
    for name in key.split("."):
        value = getattr(value, name)
    return value


def load_config(
    path: Path | str | None,
    overrides: Sequence[str] = (),
    flags: Mapping[str, tuple[str, Any]] = MappingProxyType({}),
    wrong_names: WrongNames | None = None,
    *,
    chosen: Mapping[str, Any] = MappingProxyType({}),
) -> LoadedConfig:
    """Reads and checks a config: flags beat `--set`, `--set` beats the file, the file beats defaults.

    A later `--set` beats an earlier one. Mappings are merged key by key; any other value replaces. What was chosen for
    the user, where nothing was given, beats the defaults alone.

    Args:
        path: the file, or None.
        overrides: the arguments of `--set`: `head.C=[0.1, 1]`.
        flags: for each flag as it is spelled the key that it sets and its value; None is a flag that was not given:
            `{"--device": ("device", "cuda"), "-o": ("output", Path("runs/cats"))}`. The text of a flag that is another
            spelling of a `--set` comes as `Spelled`.
        wrong_names: is asked about a backbone or stages that are not in the table of known ones; None: nobody is.
        chosen: values by key.

    Raises:
        ConfigError: the file cannot be read, or anything in any source is not valid; every problem is in it.
    """
    cwd = _working_directory()
    name = None if path is None else os.fspath(path)
    sources = [from_flag(_CHOSEN, key, value, -1, cwd) for key, value in chosen.items()]
    sources += [] if name is None else [from_file(name, cwd)]
    sources += [from_set(argument, rank, cwd) for rank, argument in enumerate(overrides, 1)]
    given = [(spelling, key, value) for spelling, (key, value) in flags.items() if value is not None]
    for rank, (spelling, key, value) in enumerate(given, len(overrides) + 1):
        read = from_short_flag if isinstance(value, Spelled) else from_flag
        sources.append(read(spelling, key, value, rank, cwd))
    config, places = _merged(sources, wrong_names)
    return LoadedConfig(config, MappingProxyType(places), name)


def _merged(sources: Iterable[Source], wrong_names: WrongNames | None) -> tuple[Config, dict[str, Place]]:
    found = [item for source in sources for item in check(source)]
    problems = [item for item in found if isinstance(item, Problem)]
    values: dict[str, Given] = {}
    for item in found:
        if isinstance(item, Given):
            _put(values, item)
    places = {key: item.place for key, item in values.items()}
    try:
        config = Config.model_validate(_tree(values))
    except ValidationError as error:
        problems += _together(error, places, problems)
    # Where the name itself has a problem, the one that is left may be what it was to replace.
    if wrong_names is not None and not any(problem.key == "backbone.name" for problem in problems):
        problems += name_problems(values, wrong_names)
    if problems:
        problems.sort(key=lambda problem: problem.place.order)
        hints = "\n".join(problem.hint for problem in problems if problem.hint)
        raise ConfigError((problem.text for problem in problems), hints or None)
    return config, places


def _put(values: dict[str, Given], new: Given) -> None:
    """Adds a value in place of what it replaces: itself, all keys of a mapping, or the word instead of a mapping."""
    if new.value == {} and any(key.startswith(f"{new.key}.") for key in values):
        return
    for key in list(values):
        if key == new.key or key.startswith(f"{new.key}.") or new.key.startswith(f"{key}."):
            del values[key]
    values[new.key] = new


def _tree(values: Mapping[str, Given]) -> dict[str, Any]:
    tree: dict[str, Any] = {}
    for key, item in values.items():
        *sections, name = key.split(".")
        branch = tree
        for section in sections:
            branch = branch.setdefault(section, {})
        branch[name] = _resolved(key, item.value, item.place.folder)
    return tree


def _resolved(key: str, value: Any, folder: str) -> Any:
    """A value with its path made absolute; symbolic links stay as they are."""
    if isinstance(value, Path):
        return Path(_absolute(str(value), folder))
    if key == "backbone.weights" and is_weights_file(value):
        path, fragment = weights_place(value)
        return _absolute(path, folder) + (f"#{fragment}" if fragment is not None else "")
    return value


def _absolute(path: str, folder: str) -> str:
    return os.path.normpath(os.path.join(folder, os.path.expanduser(path)))


def _together(error: ValidationError, places: Mapping[str, Place], problems: Sequence[Problem]) -> list[Problem]:
    """Problems of values that are valid one by one, each at the last of its keys that was given.

    Where one of the keys is among the known problems, or may be (a typing error in its name, an unreadable file), its
    value here is the default, of which there is nothing to say.
    """
    found = []
    for item in error.errors(include_url=False):
        keys = item["ctx"]["keys"]
        if not any(problem.key in ("", *keys) for problem in problems):
            place = max((places[key] for key in keys if key in places), key=lambda place: place.order)
            found.append(Problem(place, place.message(item["msg"])))
    return found


def _ways(key: str) -> list[str]:
    """An option, and the other one that will do."""
    return [key, _EITHER[key]] if key in _EITHER else [key]


def _known_keys() -> set[str]:
    return {f"{section}.{name}".removeprefix(".") for section, name, _ in options(Config)}


def _working_directory() -> str:
    try:
        return os.getcwd()
    except OSError as error:
        raise ConfigError(["the working directory is gone; change to one that exists"]) from error
