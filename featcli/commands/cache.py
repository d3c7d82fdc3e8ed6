"""`featcli cache`: what the feature store holds, whether it is sound, and making room."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

from featcli.data.hashing import MEMO_NAME, memo_files
from featcli.errors import UnreadableDataError, UsageError
from featcli.events import Emit, Note
from featcli.features.engines.models import KeptFolder, ModelCache
from featcli.features.engines.openvino import OPENVINO_ENGINE, openvino_version
from featcli.features.joining import join_stores
from featcli.features.maintenance import (
    Removal,
    StoredSpace,
    clear_store,
    list_spaces,
    prune_store,
    remove_files,
    verify_store,
)
from featcli.features.store import LAYOUT, PLAIN_ENGINE
from featcli.lines import laid_out, table
from featcli.text import columns, printable
from featcli.units import bytes_of, count_text, seconds_of, size_text
from featcli.workflow.answer import Answer

_HEADINGS = ("backbone", "weights", "input", "layer", "computed", "images", "size", "last used")
_NUMBERS = ("images", "size")  # columns that are aligned to the right
_BELOW = ("weights", "input", "layer")  # a line of its own where the terminal is too narrow for all


def show(cache: Path) -> Answer:
    """The spaces of the store, as a table and as one JSON value.

    Raises:
        StorageError: a folder cannot be listed.
    """
    spaces = [_space_facts(space) for space in list_spaces(cache)]
    facts = {
        "path": str(cache),
        "spaces": spaces,
        "images": sum(space["images"] for space in spaces),
        "bytes": sum(space["bytes"] for space in spaces),
        "memo_bytes": _memo_bytes(cache),
        "models": [*map(_model_facts, ModelCache(cache).kept())],
    }
    return Answer.arranged(partial(_show_text, facts), facts)


def verify(cache: Path) -> Answer:
    """Compares every segment with its checksum; changes nothing. Damage is the answer's failure (exit code 3).

    Raises:
        StorageError: a folder cannot be listed.
    """
    found = verify_store(cache)
    corrupt = [{"path": str(path), "reason": reason} for path, reason in found.corrupt]
    lines = [f"corrupt  {printable(item['path'])}: {printable(item['reason'])}" for item in corrupt]
    sound = found.checked - len(corrupt)
    lines.append(f"{count_text(found.checked, 'segment')} read, {sound} sound, {len(corrupt)} corrupt")
    return Answer(
        "\n".join(lines),
        {"path": str(cache), "segments": found.checked, "corrupt": corrupt},
        failure=_damage(cache, corrupt),
    )


def merge(cache: Path, sources: Sequence[Path], emit: Emit) -> Answer:
    """Joins other stores with the own one; damage in one of them is the answer's failure (exit code 3).

    Args:
        cache: the folder of the own store.
        sources: folders of others; they are not changed.
        emit: hears the progress, and what will not go together.

    Raises:
        UsageError: a folder is no store, or is the own one.
        StorageError: something cannot be read or written.
    """
    for source in sources:
        if not (source / "features" / LAYOUT).is_dir():
            raise UsageError(
                f"{source} holds no feature store", "Name the folder that --cache names there: it holds 'features'."
            )
        if cache.exists() and source.samefile(cache):
            raise UsageError(f"{source} is the store to merge into", "Name others; --cache names this one.")
    joined = join_stores(cache, sources, emit)
    merged = [
        {
            "from": str(item.source),
            "space": item.space,
            **{name: item.described.get(name) for name in ("backbone", "weights_sha256", "layer", "device_type")},
            "precision": item.described.get("numerics"),
            "engine": item.described.get("engine", PLAIN_ENGINE),
            "new": item.new,
            "known": item.known,
        }
        for item in joined
    ]
    corrupt = [{"path": str(path), "reason": reason} for item in joined for path, reason in item.damaged]
    lines = [
        f"merged   {printable(str(item['backbone'] or 'unknown'))} ({item['space'][:12]}) from "
        f"{printable(item['from'])}: {count_text(item['new'], 'image')} new, {item['known']:,} here already"
        for item in merged
    ]
    lines += [f"corrupt  {printable(item['path'])}: {printable(item['reason'])}" for item in corrupt]
    lines = lines or ["nothing to merge: the stores are empty"]
    _describe_apart(cache, {item.space for item in joined}, emit)
    failure = None
    if corrupt:
        failure = UnreadableDataError(
            f"{count_text(len(corrupt), 'part')} of what was to be merged cannot be used", "Everything else is merged."
        )
    return Answer("\n".join(lines), {"path": str(cache), "merged": merged, "corrupt": corrupt}, failure=failure)


def _describe_apart(cache: Path, merged: set[str], emit: Emit) -> None:
    """Says where features of one backbone lie apart after a merge: a head learns from one space alone."""
    by_backbone: dict[str, list[dict[str, Any]]] = {}
    here = list_spaces(cache)
    for space in here:
        by_backbone.setdefault(str(space.described.get("backbone")), []).append(space.described)
    names = {str(space.described.get("backbone")) for space in here if space.folder.name in merged}
    for name in sorted(names):
        spaces = by_backbone[name]
        keys = {key for space in spaces for key in space} - {"backbone"}
        differ = sorted(
            {"numerics": "precision"}.get(key, key)
            for key in keys
            if len({json.dumps(space.get(key, PLAIN_ENGINE), sort_keys=True) for space in spaces}) > 1
        )
        if differ:
            what = f"{printable(name)} lie in {len(spaces)} spaces here, which differ in {', '.join(differ)}"
            emit(Note(f"features of {what}: a head learns from one of them"))


def prune(
    cache: Path, *, older_than: str | None = None, unused: str | None = None, max_size: str | None = None
) -> Answer:
    """Makes room in the store, and says what was removed.

    Args:
        cache: its folder.
        older_than: a duration such as `30d`: removes features that were computed longer ago.
        unused: a duration: removes spaces that were last used longer ago.
        max_size: a size such as `5GB`: removes what was used least recently until the features fit.

    Raises:
        UsageError: a duration or size that means nothing.
        StorageError: something cannot be listed or removed.
    """
    removals = prune_store(
        cache,
        older_than=None if older_than is None else parse_duration("--older-than", older_than),
        unused=None if unused is None else parse_duration("--unused", unused),
        max_size=None if max_size is None else parse_size("--max-size", max_size),
    )
    removals += _prune_models(cache, unused)
    removed: list[dict[str, Any]] = [
        {
            "space": removal.folder.name,
            "backbone": removal.described.get("backbone"),
            "why": removal.why,
            "files": removal.files,
            "bytes": removal.bytes,
        }
        for removal in removals
    ]
    freed = sum(removal.bytes for removal in removals)
    left = sum(space.bytes for space in list_spaces(cache))
    lines = [
        f"removed  {printable(str(item['backbone'] or 'unknown'))} ({item['space'][:12]}), {item['why']}: "
        f"{count_text(item['files'], 'file')}, {size_text(item['bytes'])}"
        for item in removed
    ]
    lines.append(
        f"{size_text(freed)} freed, {size_text(left)} left" if removed else f"nothing to remove, {size_text(left)} left"
    )
    return Answer("\n".join(lines), {"path": str(cache), "removed": removed, "bytes": freed, "bytes_left": left})


def _prune_models(cache: Path, unused: str | None) -> list[Removal]:
    """Removes converted models that no version here can use or that were not used for so long; a few seconds each."""
    kept, now = ModelCache(cache), time.time()
    longest = None if unused is None else parse_duration("--unused", unused)
    removals = []
    for model in kept.kept():
        engine, version = model.described.get("engine"), model.described.get("version")
        is_foreign = engine != OPENVINO_ENGINE or version != openvino_version()
        why = "of another version" if is_foreign else "unused"
        if is_foreign or (longest is not None and model.last_used < now - longest):
            removals.append(Removal(model.folder, model.described, why, 1, kept.remove(model)))
    return removals


def clear(cache: Path) -> Answer:
    """Removes all features, converted models and the memo of file hashes, and nothing else that lies in the folder.

    Raises:
        StorageError: something cannot be listed or removed.
    """
    removal = clear_store(cache)
    kept = ModelCache(cache)
    models = sum(kept.remove(model) for model in kept.kept())
    memo = remove_files(memo_files(cache / MEMO_NAME))
    freed = removal.bytes + memo + models
    text = f"{count_text(removal.files, 'segment')} removed, {size_text(freed)} freed"
    return Answer(text, {"path": str(cache), "segments": removal.files, "bytes": freed})


def parse_duration(flag: str, text: str) -> float:
    """`90s`, `10m`, `12h`, `30d`, `2w` as seconds.

    Raises:
        UsageError: anything else.
    """
    try:
        return seconds_of(text)
    except ValueError as error:
        raise UsageError(
            f"{flag}: '{printable(text)}' is not a duration", f"A number and s, m, h, d or w: {flag} 30d (days)."
        ) from error


def parse_size(flag: str, text: str) -> int:
    """`800MB`, `5GB`, `1.5 TB` (powers of 1000), `512MiB` (powers of 1024) as bytes; `5G` is `5GB`.

    Raises:
        UsageError: anything else.
    """
    try:
        return bytes_of(text)
    except ValueError as error:
        raise UsageError(
            f"{flag}: '{printable(text)}' is not a size", f"A number and B, KB, MB, GB, TB (or MiB, ...): {flag} 5GB."
        ) from error


def _damage(cache: Path, corrupt: Sequence[dict[str, str]]) -> UnreadableDataError | None:
    if not corrupt:
        return None
    return UnreadableDataError(
        f"{count_text(len(corrupt), 'segment')} of the feature store {cache} cannot be used",
        "The next run that needs one sets it aside and recomputes its features.",
    )


def _space_facts(space: StoredSpace) -> dict[str, Any]:
    described = space.described
    return {
        "key": space.folder.name,
        "backbone": described.get("backbone"),
        "weights_sha256": described.get("weights_sha256"),
        "preprocessing": described.get("preprocessing"),
        "layer": described.get("layer"),
        "pixel_pipeline": described.get("pixel_pipeline"),
        "precision": described.get("numerics"),
        "device_type": described.get("device_type"),
        "engine": described.get("engine", PLAIN_ENGINE) if described else None,
        "images": space.count_images(),
        "segments": len(space.segments),
        "set_aside": len(space.set_aside),
        "bytes": space.bytes,
        "last_used": datetime.fromtimestamp(int(space.last_used), UTC).isoformat(),
    }


def _model_facts(model: KeptFolder) -> dict[str, Any]:
    facts = {name: model.described.get(name) for name in ("engine", "version", "backbone", "precision", "layer")}
    last_used = datetime.fromtimestamp(int(model.last_used), UTC).isoformat()
    return {"key": model.folder.name, **facts, "bytes": model.bytes, "last_used": last_used}


def _memo_bytes(cache: Path) -> int:
    return sum(path.stat().st_size for path in memo_files(cache / MEMO_NAME) if path.is_file())


def _show_text(facts: dict[str, Any], width: int | None) -> str:
    lines = [f"store  {printable(facts['path'])}"]
    if facts["spaces"]:
        lines += ["", *_table([*map(_cells, facts["spaces"])], width), ""]
    images = f"{count_text(facts['images'], 'image')} in {count_text(len(facts['spaces']), 'space')}"
    lines.append(f"total  {images}, {size_text(facts['bytes'])}; memo of file hashes {size_text(facts['memo_bytes'])}")
    if facts["models"]:
        size = size_text(sum(model["bytes"] for model in facts["models"]))
        names = ", ".join(sorted({printable(f"{model['backbone']} {model['precision']}") for model in facts["models"]}))
        lines.append(f"models {count_text(len(facts['models']), 'converted model')}, {size}: {names}")
    set_aside = sum(space["set_aside"] for space in facts["spaces"])
    if set_aside:
        lines.append(f"       {count_text(set_aside, 'damaged segment')} set aside; featcli cache prune removes them")
    return laid_out("\n".join(lines), width)


def _cells(space: dict[str, Any]) -> tuple[str, ...]:
    return (
        printable(str(space["backbone"] or "unknown")),
        printable(str(space["weights_sha256"] or "?")[:12]),
        printable(_input(space["preprocessing"])),
        printable(str(space["layer"] or "?")),
        printable(" ".join([space["device_type"] or "?", space["precision"] or "?", *_engine(space["engine"])])),
        f"{space['images']:,}",
        size_text(space["bytes"]),
        datetime.fromisoformat(space["last_used"]).astimezone().strftime("%Y-%m-%d %H:%M"),
    )


def _engine(name: str | None) -> list[str]:
    return [] if name in (None, PLAIN_ENGINE) else [str(name)]


def _input(preprocessing: Any) -> str:
    if not isinstance(preprocessing, dict):
        return "?"
    facts = [str(preprocessing.get(name, "?")) for name in ("resize", "interpolation", "crop")]
    rarer = [f", {name} {preprocessing[name]}" for name in ("range", "decode") if preprocessing.get(name) is not None]
    return f"resize {facts[0]} {facts[1]}, crop {facts[2]}{''.join(rarer)}"


def _table(spaces: Sequence[Sequence[str]], width: int | None) -> list[str]:
    """A line for each space; two where one would be longer than the terminal is wide."""
    lines = table([_HEADINGS, *spaces], right=[name in _NUMBERS for name in _HEADINGS], width=None)
    if width is None or max(map(columns, lines)) <= width:
        return lines
    above = [name for name in _HEADINGS if name not in _BELOW]
    cells = [dict(zip(_HEADINGS, space, strict=True)) for space in spaces]
    rows = [above, *([space[name] for name in above] for space in cells)]
    heading, *first = table(rows, right=[name in _NUMBERS for name in above], width=width, shrink=[0])
    second = [f"  weights {space['weights']}, {space['input']}, layer {space['layer']}" for space in cells]
    return [heading, *(line for pair in zip(first, second, strict=True) for line in pair)]
