"""Names that break naive programs, and links, devices, folders and pipes that are named like images."""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

from tests.corpus.case import Strange, bad, good
from tests.corpus.samples import (
    RGB,
    encode,
    noise,
)

NAMES = (
    b"carriage.jpg\r",
    b"with space.jpg", b" leading space.jpg", b"trailing space.jpg ", b"two\nlines.jpg", b"\nfirst.jpg", b"tab\t.jpg",
    "\N{ANT}\N{HONEYBEE}.jpg".encode(), "e\u0301.jpg".encode(), "\xe9.jpg".encode(), b"caf\xe9.jpg", b"\xff\xfe.jpg",
    "\u202egpj.exe.jpg".encode(), "\ufeffmark.jpg".encode(), b"\xed\xa0\x80.jpg", b"[abc].jpg", b"[red]x[bold].jpg",
    b"*.jpg", b"?.jpg", b"{a,b}.jpg", b"-dash.jpg", b"--top", b"-", b"-0.jpg", b"'quotes\".jpg", b"back\\slash.jpg",
    b"$HOME `id` $(id);&|.jpg", b"%s%n%d.jpg", b"a:b.jpg", b"~", b"#x.jpg", b"....jpg", b".hidden.jpg", b"a.b.c..jpg",
    b"\x1b[31mred.jpg", b"\x07bell\x7f.jpg", b"UPPER.JPG", b"x.JpEg", b"comma,;semicolon.jpg", b"\xf0\x9f.jpg",
    b"x" * 251 + b".jpg", b"\xf0\x9f\x90\x9c" * 62 + b"abc.jpg",
)  # fmt: skip


def names() -> Iterator[Strange]:
    """The same content would be one row in the store: each name has its own picture."""
    for number, name in enumerate(NAMES):
        pixels = noise(11, 12, 3, seed=100 + number)
        yield good(f"name {number} {name[:20]!a}", encode(pixels), pixels, name=name)


def a_socket(path: bytes) -> None:
    with socket.socket(socket.AF_UNIX) as server, contextlib.chdir(os.path.dirname(path)):
        server.bind(os.path.basename(path))


def a_secret(path: bytes) -> None:
    Path(os.fsdecode(path)).write_bytes(encode(RGB))
    os.chmod(path, 0)


def link(target: bytes) -> Callable[[bytes], None]:
    return lambda path: os.symlink(target, path)


def no_files() -> Iterator[Strange]:
    """Things that are named like images."""
    linked = noise(11, 12, 3, seed=99)
    yield good("linked", encode(linked), linked)
    yield good("link to an image", link(b"linked.jpg"), linked)
    yield good("link to a link", link(b"link_to_an_image.jpg"), linked)
    loop = "too many levels of symbolic links$"
    yield bad("link to itself", link(b"link_to_itself.jpg"), loop)
    yield bad("ring one", link(b"ring_two.jpg"), loop)
    yield bad("ring two", link(b"ring_one.jpg"), loop)
    yield bad("dangling link", link(b"gone"), "no such file or directory$")
    yield bad("link to a folder", link(b"."), "is a folder$")
    yield bad("link through a file", link(b"linked.jpg/x"), "not a directory$")
    yield bad("folder", lambda path: os.mkdir(path), "is a folder$")
    for device in ("zero", "null", "random", "tty"):
        reason = "not a regular file$|no such device or address$" if device == "tty" else "not a regular file$"
        yield bad(f"device {device}", link(f"/dev/{device}".encode()), reason)
    yield bad("pipe", lambda path: os.mkfifo(path), "not a regular file$")
    yield bad("socket", a_socket, "not a regular file$")
    if os.geteuid() != 0:  # root reads everything
        yield bad("secret", a_secret, "permission denied$")
