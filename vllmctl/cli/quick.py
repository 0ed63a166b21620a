"""The plain forms of what people type again and again, read without click.

    [-c FILE] [--state-dir DIR] status [NAME…] [--json]
    [-c FILE] [--state-dir DIR] tail NAME… [-f] [-n N]

Whatever else the words are (a mistake, a wish for help, an option that is not here, a form that
only click takes) is left to click: `read` says None. What it reads, click would read the same way;
tests/test_plain_forms.py holds the two against each other.
"""

from __future__ import annotations

from vllmctl.cli.context import Context

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

BEFORE = {
    "-c": ("config", str),
    "--config": ("config", str),
    "--state-dir": ("state_dir", str),
}
"""What stands before the verb: what click calls it, and what it takes (bool: nothing)."""
VERBS: Mapping[str, Mapping[str, tuple[str, type]]] = {
    "status": {"--json": ("as_json", bool)},
    "tail": {
        "-f": ("follow", bool),
        "--follow": ("follow", bool),
        "-n": ("lines", int),
        "--lines": ("lines", int),
    },
}
MOST_DIGITS = 9


def carry_out(words: Sequence[str], environ: Mapping[str, str]) -> int | None:
    """Carry out a plain form; its exit code, or None where click has to read the words."""
    asked = read(words, environ)
    if asked is None:
        return None
    before, verb, given = asked
    context = Context(**before)
    if verb == "status":
        from vllmctl.cli.statusof import show_status

        return show_status(context, **given)
    from vllmctl.cli.tailof import show_tail

    show_tail(context, **given)
    return 0


def read(
    words: Sequence[str], environ: Mapping[str, str]
) -> tuple[dict[str, Any], str, dict[str, Any]] | None:
    """What stands before the verb, the verb, and what is given to it, by click's names; or None."""
    rest = list(words)
    before: dict[str, Any] = {
        "config": environ.get("VLLMCTL_CONFIG") or None,
        "state_dir": environ.get("VLLMCTL_STATE_DIR") or None,
    }
    while rest and rest[0] in BEFORE:
        if not _take(rest, BEFORE, before):
            return None
    verb = rest.pop(0) if rest else ""
    if verb not in VERBS:
        return None
    given: dict[str, Any] = {"names": (), "as_json": False} if verb == "status" else {"names": ()}
    while rest:
        if rest[0][:1] not in ("-", ""):
            given["names"] += (rest.pop(0),)
        elif not _take(rest, VERBS[verb], given):
            return None
    if verb == "tail" and not given["names"]:
        return None  # it is said what is missing
    return before, verb, given


def _take(rest: list[str], options: Mapping[str, tuple[str, type]], into: dict[str, Any]) -> bool:
    """Take an option and its value off the words; whether it was a plain one."""
    if rest[0] not in options:
        return False
    name, kind = options[rest.pop(0)]
    if kind is bool:
        into[name] = True
        return True
    value = rest.pop(0) if rest else ""
    if kind is int:
        if not (value.isascii() and value.isdigit() and len(value) <= MOST_DIGITS):
            return False
        into[name] = int(value)
        return True
    into[name] = value
    return value[:1] not in ("-", "")
