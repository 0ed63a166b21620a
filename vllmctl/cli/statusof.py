"""What `status` does, once its words are read. Every import here is paid for by every `status`."""

from __future__ import annotations

import json
import sys
import time

from vllmctl.cli.context import NOT_RUNNING
from vllmctl.cli.output import columns_of
from vllmctl.cli.overview import overview

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from vllmctl.cli.context import Context


def show_status(context: Context, names: Sequence[str], as_json: bool) -> int:
    """Print it; the exit code."""
    document = chosen_status(context, names, with_pids=as_json)
    if as_json:
        print(json.dumps(document, indent=2, ensure_ascii=False))
    else:
        print("\n".join(overview(document, time.time(), columns_of(sys.stdout))))
    down = names and any(model["state"] != "RUNNING" for model in document["models"])
    return NOT_RUNNING if down else 0


def chosen_status(context: Context, names: Sequence[str], with_pids: bool) -> dict[str, Any]:
    """The status document, with the models that the words mean."""
    document = context.status(with_pids)
    chosen = set(context.choose(document, names))
    document["models"] = [m for m in document["models"] if m["name"] in chosen]
    return document
