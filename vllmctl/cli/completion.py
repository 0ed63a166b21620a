"""`vllmctl completion`.

The scripts, and what answers them, are in vllmctl/completion.
"""

from __future__ import annotations

import click

SHELLS = ("bash", "zsh", "fish")


class Shell(click.Choice[str]):
    """One of them; the sentence about a missing one is one line."""

    def get_missing_message(self, param: click.Parameter, ctx: click.Context | None) -> str:
        return f"Write {', '.join(SHELLS[:-1])} or {SHELLS[-1]}."


@click.command("completion")
@click.argument("shell", type=Shell(SHELLS), metavar="SHELL")
def command(shell: str) -> None:
    """Print what makes a shell complete the words of vllmctl: bash, zsh or fish.

    Put `source <(vllmctl completion bash)` into ~/.bashrc, `source <(vllmctl completion zsh)` into
    ~/.zshrc behind compinit, or `vllmctl completion fish | source` into ~/.config/fish/config.fish.
    Verbs, options, files, models, instances, labels and the PATHs of `set` are completed.
    """
    from pathlib import Path

    from vllmctl import completion

    script = Path(completion.__file__).with_name(f"vllmctl.{shell}")
    click.echo(script.read_text(encoding="utf-8"), nl=False)
