"""Completion in a shell: what may follow on a command line, out of a table, in some hundredths of a second.

It stands apart from the command line, whose libraries take longer to load than a person waits for a tab.
"""

from featcli.completion.protocol import answer
from featcli.completion.scripts import SCRIPTS

__all__ = ["SCRIPTS", "answer"]
