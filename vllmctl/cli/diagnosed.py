"""A diagnosis on the screen; `explain` and `diagnose` say it in the same words."""

from __future__ import annotations

from typing import Any

from vllmctl.cli.output import plain_text

Rows = list[tuple[str, str]]


def diagnosis_rows(diagnosis: dict[str, Any]) -> Rows:
    """The `diagnosis` object as labelled rows; what has nothing to say is left out."""
    from vllmctl.vllm.diagnosis.classes import CLASSES

    known = CLASSES.get(diagnosis["class"])  # None: a record of another version
    meaning = f": {known.meaning}" if known else ""
    rows = [("diagnosis", f"{diagnosis['class']}{meaning}"), ("cause", diagnosis["cause"])]
    rows += [("evidence", f"line {one['line']}: {one['text']}") for one in diagnosis["evidence"]]
    if len(diagnosis["evidence"]) == 1 and diagnosis["evidence"][0]["text"] == diagnosis["cause"]:
        rows[1:] = [("cause", f"line {diagnosis['evidence'][0]['line']}: {diagnosis['cause']}")]
    if diagnosis["hint"]:
        rows.append(("remedy", diagnosis["hint"]))
    if diagnosis["class"] != "clean_exit":
        again = "may help" if diagnosis["retry"] else "cannot help before that is mended"
        rows.append(("another try", again))
    return rows


def table(rows: Rows, indent: str = "") -> str:
    """Rows under each other; a label that repeats is written once."""
    width = max(len(label) for label, _ in rows)
    lines, before = [], ""
    for label, text in rows:
        shown = "" if label == before else label
        lines.append(f"{indent}{shown:<{width}}  {plain_text(text)}")
        before = label
    return "\n".join(lines)
