"""`vllmctl doctor`."""

from __future__ import annotations

import os
import sys
from collections import Counter
from typing import TYPE_CHECKING, Any

import click

from vllmctl.cli.asking import installations
from vllmctl.cli.context import FAILED, INVALID_CONFIG, NO_SUCH_NAME, Context, Failure
from vllmctl.cli.output import colour, columns_of, plain_text, wrapped
from vllmctl.cli.parameters import json_option, names_argument, pass_context
from vllmctl.control.client import ClientError, NoDaemon

if TYPE_CHECKING:
    from vllmctl.doctor.finding import Finding

WORDS = {"ok": "ok", "note": "note", "warning": "warn", "error": "FAIL"}
"""The mark of each severity, which says without colour what the colour says."""
_COLOURS = {"ok": 32, "warning": 33, "error": 31}
_WIDEST, _NARROWEST = 100, 40
_MOST_NAMES = 6
_MOST_FINE = 6


@click.command("doctor")
@names_argument
@json_option
@click.option("--strict", is_flag=True, help="Exit with 1 for a warning, too.")
@pass_context
def command(context: Context, names: tuple[str, ...], as_json: bool, strict: bool) -> int:
    """Look for what usually goes wrong, before it does; with or without a daemon.

    Checks models.yaml, this machine, and what each model needs of it: programs, GPUs and their
    memory, weights, tokens, ports, limits, disks, permissions, the systemd unit. Nothing is
    changed, and the network is not used. The exit code is that of the worst finding: 0 for notes
    and warnings, 1 for an error, 5 if the file is invalid.
    """
    from vllmctl.core.select import UnknownName
    from vllmctl.doctor.checks import examine
    from vllmctl.doctor.finding import Severity, worst
    from vllmctl.doctor.gather import gather

    status, trouble = _daemon(context)
    try:
        seen = gather(
            context.config,
            context.state,
            os.environ,
            installations().flags,
            names,
            status,
            trouble,
        )
    except UnknownName as error:
        raise Failure(str(error), NO_SUCH_NAME) from None
    findings = examine(seen)
    if as_json:
        import json
        from dataclasses import asdict

        document = {"findings": [asdict(one) for one in findings], "worst": worst(findings)}
        click.echo(json.dumps(document, indent=2, ensure_ascii=False))
    else:
        show(findings)
    if seen.errors:
        return INVALID_CONFIG
    bad = (Severity.ERROR, Severity.WARNING) if strict else (Severity.ERROR,)
    return FAILED if worst(findings) in bad else 0


def _daemon(context: Context) -> tuple[dict[str, Any] | None, str]:
    """What a daemon says of itself; or why one that may be there does not."""
    try:
        return context.client.get("/v1/status").body, ""
    except NoDaemon:
        return None, ""
    except (ClientError, Failure) as error:
        return None, str(error)


def show(findings: list[Finding]) -> None:
    """One finding a paragraph: mark, check, model and sentence; then the remedy."""
    width = max(_NARROWEST, min(columns_of(sys.stdout), _WIDEST))
    checks = max(len(one.check) for one in findings)
    before = ""
    for one, models in _together(findings):
        name = one.check if one.check != before else ""
        before = one.check
        margin = f"{_mark(one.severity)}  {name:<{checks}}  "
        room = width - len(f"FAIL  {'':{checks}}  ") - 1
        about = f"{_list(models)}: " if models else ""
        lines = wrapped(plain_text(about + one.sentence), room, indent="")
        if one.remedy:
            arrow = "→" if _unicode() else "->"
            lines += wrapped(plain_text(f"{arrow} {one.remedy}"), room, indent="")
        click.echo(margin + lines[0])
        for line in lines[1:]:
            click.echo(f"{'':{4 + 2 + checks + 2}}{line}")
    click.echo(_counts(findings))


def _together(findings: list[Finding]) -> list[tuple[Finding, list[str]]]:
    """What is said of several models alike is said once, with their names."""
    groups: dict[tuple[str, str, str, str], tuple[Finding, list[str]]] = {}
    for one in findings:
        key = (one.check, one.severity, one.sentence, one.remedy)
        _, models = groups.setdefault(key, (one, []))
        if one.model:
            models.append(one.model)
    return _few(list(groups.values()))


def _few(rows: list[tuple[Finding, list[str]]]) -> list[tuple[Finding, list[str]]]:
    """Of what is fine in one check, as much as anybody reads."""
    from dataclasses import replace

    fine = Counter(one.check for one, _ in rows if one.severity == "ok")
    shown: Counter[str] = Counter()
    few: list[tuple[Finding, list[str]]] = []
    for one, models in rows:
        if one.severity == "ok":
            shown[one.check] += 1
            more = fine[one.check] - _MOST_FINE
            if more > 1 and shown[one.check] > _MOST_FINE:
                if shown[one.check] == _MOST_FINE + 1:
                    few.append((replace(one, sentence=f"and {more} more that are fine"), []))
                continue
        few.append((one, models))
    return few


def _list(names: list[str]) -> str:
    shown = names if len(names) <= _MOST_NAMES else [*names[: _MOST_NAMES - 1]]
    more = [f"{len(names) - len(shown)} more"] if len(shown) < len(names) else []
    return ", ".join([*shown, *more])


def _mark(severity: str) -> str:
    word, code = WORDS[severity].ljust(4), _COLOURS.get(severity)
    return f"\x1b[{code}m{word}\x1b[0m" if code and colour() else word


def _unicode() -> bool:
    return "utf" in (sys.stdout.encoding or "").lower()


def _counts(findings: list[Finding]) -> str:
    from vllmctl.core.words import counted

    count = {word: sum(one.severity == word for one in findings) for word in WORDS}
    return (
        f"{count['ok']} ok, {counted(count['note'], 'note')}, "
        f"{counted(count['warning'], 'warning')}, {counted(count['error'], 'error')}"
    )
