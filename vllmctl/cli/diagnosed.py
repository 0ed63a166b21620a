"""A diagnosis on the screen; `explain` and `diagnose` say it in the same words."""

from __future__ import annotations

import sys
from typing import Any

from vllmctl.cli.output import columns_of, plain_text, wrapped

Rows = list[tuple[str, str]]
WHOLE = ("command", "log", "url")


def diagnosis_rows(diagnosis: dict[str, Any]) -> Rows:
    """The `diagnosis` object as labelled rows; what has nothing to say is left out."""
    from vllmctl.vllm.diagnosis.classes import CLASSES

    known = CLASSES.get(diagnosis["class"])  # None: a record of another version
    meaning = f": {known.meaning}" if known else ""
    cause, evidence = diagnosis["cause"], diagnosis["evidence"]
    rows = [("diagnosis", f"{diagnosis['class']}{meaning}")]
    if len(evidence) != 1 or not " ".join(evidence[0]["text"].split()).startswith(cause[:-1]):
        rows.append(("cause", cause))
    label = "cause" if len(rows) == 1 else "evidence"
    rows += [(label, f"line {one['line']}: {one['text']}") for one in evidence]
    if diagnosis["hint"]:
        rows.append(("remedy", diagnosis["hint"]))
    if diagnosis["class"] != "clean_exit":
        again = "may help" if diagnosis["retry"] else "cannot help before that is mended"
        rows.append(("another try", again))
    return rows


def table(rows: Rows, indent: str = "") -> str:
    """Rows under each other, as wide as standard output; a label that repeats is written once.

    What somebody may copy from there, a command or a path, is left in one piece.
    """
    width = max(len(label) for label, _ in rows)
    room = columns_of(sys.stdout) - len(indent) - width - 2
    lines, before = [], ""
    for label, text in rows:
        shown = "" if label == before else label
        text = plain_text(text)
        for line in [text] if label in WHOLE else wrapped(text, room, indent=""):
            lines.append(f"{indent}{shown:<{width}}  {line}")
            shown = ""
        before = label
    return "\n".join(lines)
