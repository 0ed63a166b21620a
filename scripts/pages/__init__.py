"""The parts of the documentation that are made from the code, a kind of page a module."""

from __future__ import annotations

import json

from pages.completion_table import completion_table
from pages.doctor import doctor_page
from pages.keys import Schema
from pages.models_yaml import models_yaml_page
from pages.models_yaml_man import models_yaml_man
from pages.recovery import recovery_page
from pages.states import states_page
from pages.verb_man import verb_man
from pages.vllmctl_man import vllmctl_man
from vllmctl import cli
from vllmctl.cli.manual import MANUALS
from vllmctl.config.schema import schema_text


def missing() -> str:
    """What has to be written by hand before the pages can be made; empty if nothing is."""
    verbs = ", ".join(verb for verb in cli.VERBS if verb not in MANUALS)
    return f"vllmctl/cli/manual.py has no examples and exit codes of: {verbs}" if verbs else ""


def pages() -> dict[str, str]:
    """Every generated file by its path in the repository."""
    schema: Schema = json.loads(schema_text())
    return {
        "docs/states.md": states_page(),
        "docs/recovery.md": recovery_page(),
        "docs/doctor.md": doctor_page(),
        "docs/models.yaml.md": models_yaml_page(schema),
        "man/man5/models.yaml.5": models_yaml_man(schema),
        "man/man1/vllmctl.1": vllmctl_man(),
        **{f"man/man1/vllmctl-{verb}.1": verb_man(verb) for verb in cli.VERBS},
        "vllmctl/completion/table.json": completion_table(),
    }
