"""man/man1/vllmctl.1: what is common to all verbs."""

from __future__ import annotations

import re

import click

from pages.commands import option_says, option_words, options_in_the_environment
from pages.roff import Man, roff
from vllmctl import cli, statedir
from vllmctl.cli import group
from vllmctl.cli.manual import EXIT_CODES

ENVIRONMENT = {
    "XDG_STATE_HOME": "Its subdirectory vllmctl is the state directory of a user who is not root. "
    "Default: ~/.local/state.",
    "XDG_CONFIG_HOME": "Where vllmctl/models.yaml is looked for. Default: ~/.config.",
    "NO_COLOR": "If it is set and not empty, there is no colour.",
    "VLLMCTL_DEBUG": "If it is set and not empty, an internal error shows where it happened.",
}
"""Beside the variables that stand for an option, which the options name themselves."""


def vllmctl_man() -> str:
    page = Man("VLLMCTL", 1, "supervise vLLM servers")
    page.section("SYNOPSIS")
    page.line(".B vllmctl")
    page.line(f"[{roff('-c')} \\fIFILE\\fR] [{roff('--state-dir')} \\fIDIR\\fR] \\fICOMMAND\\fR …")
    page.section("DESCRIPTION")
    page.text(
        "vllmctl keeps model servers running. The file models.yaml(5) says which; a daemon makes "
        "it so and keeps it so. Each server is the child of a small process of its own, a shim, "
        "which owns its log and writes down how it ended; so the daemon may end, crash or be "
        "replaced while the models go on serving."
    )
    page.text(
        "NAME is a model, an instance (`chat:2` is the second of a model with replicas), "
        "a glob, or `@label`. Durations read 90, 90s, 5m or 1h30m."
    )
    page.section("OPTIONS")
    for parameter in group.cli.params:
        if isinstance(parameter, click.Option):
            page.term(option_words(parameter), option_says(parameter), code=False)
    page.section("COMMANDS")
    page.text("Each has a manual page of its own, such as vllmctl-start(1).")
    for verb, says in cli.VERBS.items():
        page.term(f"vllmctl-{verb}(1)", says)
    page.section("EXIT STATUS")
    for code, meaning in EXIT_CODES.items():
        page.term(str(code), f"{meaning}.")
    page.text("Errors go to standard error: `vllmctl: `, one sentence, and the remedy.")
    page.text(
        "Who reads the output changes no exit code. Commands that follow (tail -f, events -f, "
        "status --watch) end with 0 when their reader has left (`| head`); all others finish what "
        "they do. Output that cannot be written (a full disk) is a failure. A signal ends a "
        "command as the system does: a shell says 143 for SIGTERM. Its models live on."
    )
    page.section("ENVIRONMENT")
    for variable, says in {**options_in_the_environment(), **ENVIRONMENT}.items():
        page.term(variable, says)
    page.section("FILES")
    page.text(
        "The state directory is /var/lib/vllmctl for root and ~/.local/state/vllmctl for others, "
        "unless --state-dir or VLLMCTL_STATE_DIR names one. In it:"
    )
    for name, says in state_files():
        page.term(name, says)
    page.section("SIGNALS")
    page.text("The daemon takes:")
    page.term("SIGTERM, SIGINT", "End, and take the models along. A second one: end at once.")
    page.term("SIGHUP", "Read models.yaml again.")
    page.section("EXAMPLES")
    page.verbatim(
        "vllmctl -c models.yaml start        # the daemon and all models\n"
        "vllmctl status                      # what runs, and why what does not run does not\n"
        "vllmctl tail -f chat                # the log of one\n"
        "vllmctl stop @small                 # those with a label; they stay stopped\n"
        "vllmctl shutdown --keep-models      # the daemon alone, to upgrade it"
    )
    page.section("SEE ALSO")
    page.text(", ".join([*(f"vllmctl-{verb}(1)" for verb in cli.VERBS), "models.yaml(5)"]))
    return page.done()


def state_files() -> list[tuple[str, str]]:
    """What the state directory's own module says that lies in it."""
    found = []
    for line in (statedir.__doc__ or "").splitlines():
        if match := re.match(r"    (\S+)\s{2,}(\S.*)", line):
            name, says = match[1], re.sub(r"\s*\(writer: .*\)|\s{2,}", " ", match[2]).strip()
            found.append((name, f"{says}."))
    return found
