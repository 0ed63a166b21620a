"""The installations of vLLM, for the verbs that read models.yaml themselves."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from vllmctl.vllm.installed import Installations


def installations() -> Installations:
    """As the person who types sees them; a question that takes a while is told of."""
    from vllmctl.vllm.installed import Installations, cache_folder

    folder = cache_folder(os.environ, os.geteuid())
    return Installations(os.environ, folder, lambda said: click.echo(said, err=True))
