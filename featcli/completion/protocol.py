"""How a shell asks, and how it is answered.

The shell's function runs `featcli` with `_FEATCLI_COMPLETE=complete_SHELL`, the words of the line in `COMP_WORDS`, each
on a line of its own, and in `COMP_CWORD` which of them is being typed. The answer is one candidate a line; for zsh and
fish a tab and its help follow. A line that begins with a tab says that a path may stand there, and what stands before
it in the same word: `<tab>folder<tab>data.root=`.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping, Sequence

from featcli.completion.candidates import Candidates, candidates
from featcli.completion.table import read_table

_VARIABLE = "_FEATCLI_COMPLETE"  # `__main__` looks at it
_SHELLS = ("bash", "zsh", "fish")
_BREAKS = re.compile(r"[=:]+")  # of COMP_WORDBREAKS, which words of featcli have
_FAILED = 1


def answer(environment: Mapping[str, str]) -> int:
    """Writes the answer to stdout, and nothing anywhere else.

    Returns:
        The exit code: 1 for a question that is none, or an answer that cannot be given.
    """
    shell = environment.get(_VARIABLE, "").removeprefix("complete_")
    if shell not in _SHELLS:
        return _FAILED
    try:
        text = complete(shell, _words(environment.get("COMP_WORDS", "")), int(environment.get("COMP_CWORD", "")))
        sys.stdout.buffer.write(text.encode("utf-8", "surrogateescape"))
        sys.stdout.buffer.flush()
    except Exception:  # whoever types is not to see it
        return _FAILED
    return 0


def complete(shell: str, words: Sequence[str], place: int) -> str:
    """The answer, as a shell reads it.

    Args:
        shell: `bash`, `zsh` or `fish`.
        words: of the line as typed, the command itself first.
        place: of the word that is being typed, from 0.
    """
    typed = [*words, *[""] * place][: place + 1]
    kept = ""
    if shell == "bash":
        typed, kept = _joined(typed)
    *before, word = map(_unquoted, typed)
    found = candidates(read_table(), before[1:], word)
    return "".join(f"{line}\n" for line in _lines(shell, found, _unquoted(kept)))


def _lines(shell: str, found: Candidates, kept: str) -> list[str]:
    if shell == "bash":
        lines = [word.removeprefix(kept) for word, _ in found.words]
    else:
        lines = [f"{word}\t{help}" if help else word for word, help in found.words]
    return [*lines, f"\t{found.path}\t{found.before}"] if found.path else lines


def _joined(words: Sequence[str]) -> tuple[list[str], str]:
    """The words of bash, which splits at `=` and `:`, as they were typed; and what of the last is not to be repeated.

    Bash puts a reply in the place of the part behind the last such sign, and of that part alone.
    """
    joined: list[str] = []
    kept = ""
    for index, part in enumerate(words):
        previous = words[index - 1] if index else ""
        is_break = bool(_BREAKS.fullmatch(part))
        if joined and (is_break or (part and _BREAKS.fullmatch(previous))):
            kept = joined[-1] + (part if is_break else "")
            joined[-1] += part
        else:
            joined.append(part)
            kept = ""
    return joined, kept


def _words(text: str) -> list[str]:
    return text.split("\n") if "\n" in text else text.split(" ")


def _unquoted(word: str) -> str:
    """A word without the quotes and backslashes of a shell; a quote may still be open."""
    plain, quote, index = "", "", 0
    while index < len(word):
        char = word[index]
        if char == "\\" and quote != "'" and index + 1 < len(word):
            index += 1
            plain += word[index]
        elif char == quote:
            quote = ""
        elif char in "'\"" and not quote:
            quote = char
        else:
            plain += char
        index += 1
    return plain
