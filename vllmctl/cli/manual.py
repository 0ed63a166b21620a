"""What there is to know of each verb beside its options: examples, and what its exit codes mean.

`vllmctl VERB --help` shows the examples, vllmctl-VERB(1) all of it; test_docs.py wants an entry for
every verb. The exit codes themselves are in `context`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from vllmctl.cli.context import FAILED, INVALID_CONFIG, NO_SUCH_NAME, NOT_RUNNING, TIMED_OUT, USAGE

INTERRUPTED = 130

EXIT_CODES = {
    0: "done",
    FAILED: "failed: a model ended FATAL or EXITED, the daemon refused, an internal error",
    USAGE: "usage: an unknown command or option, or a state directory that cannot be used",
    NOT_RUNNING: "not running: no daemon; for status NAME, a model that is not RUNNING",
    NO_SUCH_NAME: "no such name: no model, instance or label is called so",
    INVALID_CONFIG: "invalid configuration: models.yaml has errors, or is not there",
    TIMED_OUT: "timed out: --timeout was over before the models were where they should be",
    INTERRUPTED: "interrupted by Ctrl-C",
}
"""What each one means in general."""


@dataclass(frozen=True, slots=True)
class Manual:
    """What is said of one verb."""

    examples: tuple[tuple[str, str], ...]
    """A command, as it is typed, and what it does."""
    exits: Mapping[int, str] = field(default_factory=dict)
    """What a code means for this verb; 2 (usage) is every verb's, and 0 where nothing else is
    said means that it is done."""
    files: tuple[tuple[str, str], ...] = ()
    """Below the state directory, where the path does not begin with `/` or `./`."""
    environment: tuple[tuple[str, str], ...] = ()
    see_also: tuple[str, ...] = ()
    """Other verbs."""


_NO_DAEMON = {NOT_RUNNING: "No daemon runs."}
_REFUSED = "The daemon refused, does not answer, or cannot be understood."
_NO_NAME = {NO_SUCH_NAME: "No model, instance or label is called so."}
_INTERRUPTED = {INTERRUPTED: "Ctrl-C."}
_FILE_PLACES = (
    ("./models.yaml", "Read first, where nobody names a file."),
    ("~/.config/vllmctl/models.yaml", "Read next."),
    ("/etc/vllmctl/models.yaml", "Read last."),
)
_COLOUR = (("NO_COLOR", "If it is set and not empty, there is no colour."),)
_LOGS = (("logs/NAME.log[.N]", "The log; the older files end in .N or .N.gz."),)

MANUALS: Mapping[str, Manual] = {
    "start": Manual(
        examples=(
            ("vllmctl start", "the daemon if none runs, and every model of ./models.yaml"),
            ("vllmctl -c models.yaml start chat --timeout 30m", "one of them, and no longer"),
            ("vllmctl start @small --no-wait", "those with a label, without waiting"),
        ),
        exits={
            0: "All of them are RUNNING; with --no-wait, they were asked to start.",
            FAILED: "A model ended, and will not be tried again, or the daemon could not begin.",
            **_NO_NAME,
            INVALID_CONFIG: "The file has errors, or is not there, and no daemon runs yet.",
            TIMED_OUT: "--timeout was over before they were RUNNING. They go on starting.",
            INTERRUPTED: "Ctrl-C. They go on starting.",
        },
        files=(
            *_FILE_PLACES,
            ("daemon.log", "What the daemon prints that this command has started."),
        ),
        environment=_COLOUR,
        see_also=("stop", "status", "explain", "daemon"),
    ),
    "stop": Manual(
        examples=(
            ("vllmctl stop chat", "and keep it stopped, also after a reboot"),
            ("vllmctl stop @small --timeout 2m", "those with a label"),
        ),
        exits={
            0: "Nothing of them is left.",
            FAILED: "Somebody started one again meanwhile, or the daemon refused.",
            **_NO_DAEMON,
            **_NO_NAME,
            TIMED_OUT: "--timeout was over before they were gone. They go on stopping.",
            INTERRUPTED: "Ctrl-C. They go on stopping.",
        },
        files=(("intent.json", "Where it is kept that they were stopped by hand."),),
        environment=_COLOUR,
        see_also=("start", "restart", "shutdown"),
    ),
    "restart": Manual(
        examples=(
            ("vllmctl restart chat", "with its current definition, and a count of zero"),
            ("vllmctl restart 'chat:2' --no-wait", "one replica, without waiting"),
        ),
        exits={
            0: "All of them are RUNNING; with --no-wait, they were asked to restart.",
            FAILED: "A model ended, and will not be tried again, or the daemon refused.",
            **_NO_DAEMON,
            **_NO_NAME,
            TIMED_OUT: "--timeout was over before they were RUNNING. They go on starting.",
            INTERRUPTED: "Ctrl-C. They go on starting.",
        },
        environment=_COLOUR,
        see_also=("start", "stop", "reload"),
    ),
    "status": Manual(
        examples=(
            ("vllmctl status", "what runs, and why what does not run does not"),
            ("vllmctl status chat", "one of them; the exit code says whether it is RUNNING"),
            ("vllmctl status --watch", "all the time"),
            ("vllmctl status --json", "for a script"),
        ),
        exits={
            0: "The daemon answered; with a NAME, all that it means are RUNNING.",
            FAILED: _REFUSED,
            NOT_RUNNING: "No daemon runs; with a NAME, one that it means is not RUNNING.",
            **_NO_NAME,
            **_INTERRUPTED,
        },
        environment=_COLOUR,
        see_also=("explain", "events", "show"),
    ),
    "tail": Manual(
        examples=(
            ("vllmctl tail chat", "its last 100 lines"),
            ("vllmctl tail -f -n 20 chat embed", "of both, and what comes"),
            ("vllmctl tail --previous chat", "of the run before the last one"),
            ("vllmctl tail --since 1h --grep error '*'", "what all of them said of errors"),
        ),
        exits={
            FAILED: "The log cannot be read, or has no earlier run (--previous).",
            NO_SUCH_NAME: "No model is called so, and without a daemon: none has a log.",
            **_INTERRUPTED,
        },
        files=_LOGS,
        see_also=("events", "explain", "diagnose"),
    ),
    "explain": Manual(
        examples=(
            ("vllmctl explain chat", "why it is as it is, and what happens next"),
            ("vllmctl explain chat --json", "for a script"),
        ),
        exits={FAILED: _REFUSED, **_NO_DAEMON, **_NO_NAME},
        environment=_COLOUR,
        see_also=("diagnose", "tail", "status"),
    ),
    "diagnose": Manual(
        examples=(
            ("vllmctl diagnose vllm.log --exit-code 1", "a log from anywhere"),
            ("vllmctl diagnose --signal KILL vllm.log.gz", "a compressed one, of a killed server"),
            ("kubectl logs pod/vllm-0 --previous | vllmctl diagnose -", "of a container"),
        ),
        exits={0: "The diagnosis was made, whatever it says.", FAILED: "LOGFILE cannot be read."},
        see_also=("explain", "tail"),
    ),
    "events": Manual(
        examples=(
            ("vllmctl events", "the last hundred"),
            ("vllmctl events -f chat", "what happens to one, as it happens"),
            ("vllmctl events --json --after 1700000000000042", "on from an event"),
        ),
        exits={FAILED: "The events cannot be read.", **_NO_NAME, **_INTERRUPTED},
        files=(("events.jsonl[.1]", "What happened, one event a line."),),
        environment=_COLOUR,
        see_also=("tail", "status"),
    ),
    "validate": Manual(
        examples=(
            ("vllmctl validate", "the file that would be read"),
            ("vllmctl validate models.yaml --json", "another one, for a script"),
        ),
        exits={
            0: "The file is valid. It may have warnings.",
            INVALID_CONFIG: "It has errors, or is not there.",
        },
        files=_FILE_PLACES,
        environment=_COLOUR,
        see_also=("diff", "schema", "set"),
    ),
    "doctor": Manual(
        examples=(
            ("vllmctl doctor", "the file, this machine, and what each model needs of it"),
            ("vllmctl doctor chat --json", "what one model needs, for a script"),
            ("vllmctl doctor --strict", "exit code 1 for a warning, too"),
        ),
        exits={
            0: "Nothing worse than a warning was found; with --strict, than a note.",
            FAILED: "Something was found that will not work; with --strict, or a warning.",
            **_NO_NAME,
            INVALID_CONFIG: "The file has errors, or is not there.",
            **_INTERRUPTED,
        },
        files=_FILE_PLACES,
        environment=_COLOUR,
        see_also=("validate", "init", "explain"),
    ),
    "init": Manual(
        examples=(
            ("vllmctl init", "a ./models.yaml with what this machine has"),
            ("vllmctl init --stdout", "the same, to look at; nothing is written"),
        ),
        exits={FAILED: "The file is there already, cannot be written, or no port is free."},
        files=(("./models.yaml", "What is written, where nobody names a file."),),
        see_also=("doctor", "start", "set"),
    ),
    "diff": Manual(
        examples=(
            ("vllmctl diff", "what a reload would do"),
            ("vllmctl diff models.next.yaml --json", "what another file would do, for a script"),
        ),
        exits={
            0: "Nothing would change.",
            FAILED: "Something would change; or the daemon refused.",
            **_NO_DAEMON,
            INVALID_CONFIG: "The file has errors, or is not there.",
        },
        see_also=("reload", "validate", "show"),
    ),
    "set": Manual(
        examples=(
            ("vllmctl set chat.args.max-model-len 8192", "one value"),
            ("vllmctl set chat.port 8001 chat.gpus '[0, 1]'", "two values, both or neither"),
            ("vllmctl set embed.model Qwen/Qwen3-Embedding-0.6B", "a new model"),
        ),
        exits={
            FAILED: "The place cannot be changed safely, or the file cannot be written.",
            USAGE: "PATH or VALUE cannot be understood.",
            NO_SUCH_NAME: "The file has no model of that name.",
            INVALID_CONFIG: "The file has errors, or would have; nothing was changed.",
        },
        files=_FILE_PLACES,
        see_also=("unset", "validate", "diff"),
    ),
    "unset": Manual(
        examples=(
            ("vllmctl unset chat.args.max-model-len", "one value"),
            ("vllmctl unset embed", "a whole model"),
        ),
        exits={
            FAILED: "The place cannot be changed safely, or the file cannot be written.",
            USAGE: "PATH cannot be understood.",
            NO_SUCH_NAME: "The file has no model of that name.",
            INVALID_CONFIG: "The file has errors, or would have; nothing was changed.",
        },
        files=_FILE_PLACES,
        see_also=("set", "validate", "diff"),
    ),
    "reload": Manual(
        examples=(
            ("vllmctl reload", "what was saved is in effect"),
            ("vllmctl diff; vllmctl reload", "look first (with `reload: manual` in the file)"),
        ),
        exits={
            FAILED: _REFUSED,
            **_NO_DAEMON,
            INVALID_CONFIG: "The file has errors; the last good reading stays in effect.",
        },
        files=(("config.json", "The last good reading."),),
        see_also=("diff", "validate"),
    ),
    "show": Manual(
        examples=(
            ("vllmctl show chat", "command, environment, and where each value is from"),
            ("vllmctl show chat --json", "for a script"),
        ),
        exits={FAILED: _REFUSED, **_NO_DAEMON, **_NO_NAME},
        see_also=("explain", "diff"),
    ),
    "schema": Manual(
        examples=(
            ("vllmctl schema", "on the screen"),
            ("vllmctl schema > models.schema.json", "for an editor"),
        ),
        see_also=("validate",),
    ),
    "daemon": Manual(
        examples=(
            ("vllmctl daemon", "in the foreground; Ctrl-C ends it and its models"),
            ("vllmctl -c models.yaml --state-dir /run/vllmctl daemon", "as in a container"),
        ),
        exits={
            0: "It was asked to end, and has.",
            FAILED: "Another daemon runs on the state directory, or it could not go on.",
            USAGE: "The state directory cannot be used.",
            INVALID_CONFIG: "The file has errors, or is not there, and there is no good reading.",
        },
        files=(
            *_FILE_PLACES,
            ("lock", "Held for as long as the daemon lives."),
            ("vllmctl.sock", "The control socket."),
        ),
        environment=(
            ("NOTIFY_SOCKET, WATCHDOG_USEC", "systemd's: where and how often it is told."),
        ),
        see_also=("start", "shutdown"),
    ),
    "shutdown": Manual(
        examples=(
            ("vllmctl shutdown", "the daemon and all models"),
            ("vllmctl shutdown --keep-models", "the daemon alone, to upgrade it"),
        ),
        exits={
            0: "Both are gone; with --keep-models, the daemon is.",
            FAILED: "The daemon died before all was stopped, refused, or another one has come.",
            **_NO_DAEMON,
            INTERRUPTED: "Ctrl-C. The daemon goes on ending.",
        },
        see_also=("stop", "daemon"),
    ),
    "completion": Manual(
        examples=(
            ("source <(vllmctl completion bash)", "in this shell; in ~/.bashrc for all"),
            ('vllmctl completion zsh > "${fpath[1]}/_vllmctl"', "where zsh looks"),
            ("vllmctl completion fish | source", "in fish"),
        ),
        exits={0: "The script was printed."},
        files=(
            ("/usr/share/bash-completion/completions/vllmctl", "Where a package puts it."),
            ("/usr/share/zsh/site-functions/_vllmctl", "For zsh."),
            ("/usr/share/fish/vendor_completions.d/vllmctl.fish", "For fish."),
        ),
    ),
}


def exit_codes(verb: str) -> dict[int, str]:
    """Every code that this verb may end with, in order, and what it means for it."""
    manual = MANUALS[verb]
    usage = {USAGE: "An unknown option, a word too many or too few, or a bad value."}
    return dict(sorted({0: "Done.", **usage, **manual.exits}.items()))


def examples_text(verb: str) -> list[tuple[str, str]]:
    """For `--help`; empty where nothing is known of the verb."""
    return list(MANUALS[verb].examples) if verb in MANUALS else []
