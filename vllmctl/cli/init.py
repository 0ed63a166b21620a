"""`vllmctl init`."""

from __future__ import annotations

import os

import click

from vllmctl.cli.context import FAILED, Context, Failure
from vllmctl.cli.output import plain_text
from vllmctl.cli.parameters import pass_context


@click.command("init")
@click.option("--force", is_flag=True, help="Replace a file that is there.")
@click.option("--stdout", is_flag=True, help="Print the file, and write nothing.")
@pass_context
def command(context: Context, force: bool, stdout: bool) -> None:
    """Write a first models.yaml for this machine, with comments.

    It goes where -c or VLLMCTL_CONFIG says, else to ./models.yaml. Nothing is asked: the GPUs,
    vLLM and its version, the models in the cache and free ports are looked up. Without a GPU or
    without vLLM, the file serves the built-in simulator.
    """
    from vllmctl.doctor.first import first_file, found, simulated
    from vllmctl.doctor.machine import see_machine

    try:
        path = os.path.abspath(context.named_config or "models.yaml")
    except FileNotFoundError:
        sentence = "the current directory no longer exists; change to another"
        raise Failure(sentence) from None
    if not force and not stdout and os.path.lexists(path):
        raise _there(path)
    try:
        machine = see_machine(os.environ)
    except OSError as error:  # no port is free
        raise Failure(str(error)) from None
    text = first_file(machine)
    _check(text)
    if stdout:
        click.echo(text, nl=False)
        return
    _write(path, text, force)
    click.echo(f"wrote {plain_text(path)}")
    for line in found(machine):
        click.echo(f"  {line}")
    if simulated(machine):
        click.echo("It serves the built-in simulator until there is vLLM and a GPU.")
    named = f"-c {plain_text(path)} " if context.named_config else ""
    click.echo("\nNext:")
    click.echo(f"  vllmctl {named}doctor    what may go wrong, before it does")
    click.echo(f"  vllmctl {named}start     the daemon and the models")


def _check(text: str) -> None:
    """What would not be valid is not written."""
    import tempfile

    from vllmctl.config.errors import InvalidConfig
    from vllmctl.config.load import load

    with tempfile.TemporaryDirectory(prefix="vllmctl-init-") as folder:
        file = os.path.join(folder, "models.yaml")
        with open(file, "w", encoding="utf-8") as opened:
            opened.write(text)
        try:
            load(file, os.environ)
        except InvalidConfig as invalid:
            said = str(invalid.errors[0]).replace(file, "models.yaml")
            raise Failure(
                f"what was made for this machine is not valid, and was not written: {said}; "
                "please report it with the output of `vllmctl init --stdout`"
            ) from None


def _write(path: str, text: str, force: bool) -> None:
    from vllmctl.editing.replace import NotReplaced, Overtaken, create, held

    try:
        if force and os.path.exists(path):
            with held(path) as file:
                file.replace(text)
        else:
            create(path, text)
    except FileExistsError:
        raise _there(path) from None
    except NotReplaced as error:
        raise Failure(str(error), FAILED) from None
    except Overtaken:
        raise Failure(f"{path} was saved by somebody else meanwhile; try again", FAILED) from None


def _there(path: str) -> Failure:
    return Failure(
        f"{path} is already there; --force replaces it, --stdout prints what would be written",
        FAILED,
    )
