"""Where the feature store lies."""

from __future__ import annotations

import os
import pwd
from pathlib import Path

import pytest

from featcli.errors import UsageError
from featcli.features.place import NO_CACHE, cache_folder


@pytest.fixture(autouse=True)
def _nothing_set(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("FEATCLI_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", "/home/ada")


def test_the_call_beats_the_environment_beats_the_desktop_beats_the_home(monkeypatch: pytest.MonkeyPatch) -> None:
    assert cache_folder() == Path("/home/ada/.cache/featcli")
    monkeypatch.setenv("XDG_CACHE_HOME", "/var/cache/ada")
    assert cache_folder() == Path("/var/cache/ada/featcli")
    monkeypatch.setenv("FEATCLI_CACHE", "/fast/features")
    assert cache_folder() == Path("/fast/features")
    assert cache_folder(Path("here")) == Path.cwd() / "here"


@pytest.mark.parametrize("value", ["", "relative/cache", "~/cache"])
def test_a_desktop_cache_that_is_no_absolute_path_is_ignored(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", value)
    assert cache_folder() == Path("/home/ada/.cache/featcli")


def test_a_tilde_is_the_home(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FEATCLI_CACHE", "~/x")
    assert cache_folder() == Path("/home/ada/x")
    assert cache_folder(Path("~/y")) == Path("/home/ada/y")


def _nobody(uid: int) -> pwd.struct_passwd:
    raise KeyError(uid)


@pytest.mark.parametrize("home", [None, "", "relative"])
def test_a_user_without_a_home(home: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pwd, "getpwuid", _nobody)
    if home is None:
        monkeypatch.delenv("HOME")
    else:
        monkeypatch.setenv("HOME", home)
    assert cache_folder() == NO_CACHE
    with pytest.raises(UsageError, match="FEATCLI_CACHE ~nobody-at-all/x: there is no such home folder"):
        monkeypatch.setenv("FEATCLI_CACHE", "~nobody-at-all/x")
        cache_folder()


def test_a_home_that_is_not_named_is_that_of_the_system(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HOME")
    assert cache_folder() == Path(pwd.getpwuid(os.getuid()).pw_dir, ".cache/featcli")
