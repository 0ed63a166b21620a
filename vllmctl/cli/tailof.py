"""What `tail` does, once its words are read.

Whose log a word means: by the daemon's word, or by the logs that there are.
"""

from __future__ import annotations

import os

from vllmctl.cli.context import NO_SUCH_NAME, Failure
from vllmctl.cli.logbytes import show_bytes
from vllmctl.control.client import ClientError, NoDaemon
from vllmctl.core.select import Candidate, UnknownName, select

TYPE_CHECKING = False
if TYPE_CHECKING:
    import re
    from collections.abc import Sequence

    from vllmctl.cli.context import Context

LINES = 100
"""How many, where nobody says."""


def show_tail(
    context: Context,
    names: Sequence[str],
    follow: bool = False,
    lines: int | None = None,
    previous: bool = False,
    since: float | None = None,
    grep: re.Pattern[bytes] | None = None,
    as_json: bool = False,
) -> None:
    """Print what is wanted of these logs; `since` is in seconds since the epoch."""
    chosen = instances(context, names)
    if lines is None and since is None:
        lines = LINES
    try:
        if len(chosen) == 1 and not (previous or grep or as_json) and since is None:
            show_bytes(context.state.log(chosen[0]), lines or 0, follow)
            return
        from vllmctl.cli.tailing import Wanted, show_lines

        paths = {name: context.state.log(name) for name in chosen}
        show_lines(paths, Wanted(lines, previous, since, grep), follow, as_json)
    except KeyboardInterrupt:
        pass  # that is how it is left


def instances(context: Context, words: Sequence[str]) -> list[str]:
    """Those that the words mean."""
    try:
        models = context.client.get("/v1/status?pids=false").body["models"]
        known = [Candidate(m["name"], m["entry"], tuple(m["labels"])) for m in models]
    except (NoDaemon, ClientError):
        known = _from_logs(context.state.logs)
    try:
        return select(known, words)
    except UnknownName as error:
        raise Failure(str(error), NO_SUCH_NAME) from None


def _from_logs(folder: str) -> list[Candidate]:
    try:
        files = sorted(os.listdir(folder))
    except OSError:
        return []
    names = [file.removesuffix(".log") for file in files if file.endswith(".log")]
    return [Candidate(name, name.partition(":")[0]) for name in names]
