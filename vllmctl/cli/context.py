"""What every verb shares: where file and state lie, how to reach the daemon, how to fail.

Every command imports it, so it imports little itself.
"""

from __future__ import annotations

import os

from vllmctl.control.client import Client, ClientError, NoDaemon, Reply
from vllmctl.places import config_places, default_path
from vllmctl.statedir import StateDir, StateDirError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

FAILED, USAGE, NOT_RUNNING, NO_SUCH_NAME, INVALID_CONFIG, TIMED_OUT = 1, 2, 3, 4, 5, 6


class Failure(Exception):
    """Ends the command with `code`, after the sentence (if any) on standard error."""

    def __init__(self, sentence: str, code: int = FAILED) -> None:
        super().__init__(sentence)
        self.code = code


class Context:
    """Made from the options before the verb and the environment; handed to the verb."""

    def __init__(self, config: str | None, state_dir: str | None) -> None:
        self.named_config = config
        """The file as named by -c or VLLMCTL_CONFIG; None: nobody named one."""
        root = state_dir or default_path(os.environ, os.geteuid())
        self.state = StateDir(os.path.abspath(root))

    @property
    def config(self) -> str:
        """The file to use, absolute; where nothing is found, the first place that was looked at."""
        if self.named_config:
            return os.path.abspath(self.named_config)
        places = config_places(os.environ)
        return next((place for place in places if os.path.exists(place)), places[0])

    @property
    def client(self) -> Client:
        try:
            self.state.check_socket_path()
        except StateDirError as error:
            raise Failure(str(error), USAGE) from None
        return Client(self.state.socket)

    def ask(self, method: str, path: str, document: object = None) -> Reply:
        """A request to the daemon; Failure if there is none or it refuses."""
        try:
            client = self.client
            reply = client.get(path) if method == "GET" else client.post(path, document)
        except NoDaemon:
            raise self.no_daemon() from None
        except ClientError as error:
            raise Failure(str(error)) from None
        return reply if reply.ok else self.refused(reply)

    def command(self, verb: str, names: list[str]) -> None:
        """`start`, `stop` or `restart` these instances, all at once; Failure if it is refused."""
        if names:
            self.ask("POST", f"/v1/{verb}", {"names": names})

    def refused(self, reply: Reply) -> Reply:
        """Raise what the daemon's refusal means here."""
        sentence = reply.body.get("error", f"the daemon answered {reply.status}")
        if reply.body.get("errors"):
            from vllmctl.cli.mistakes import mistakes

            sentence = mistakes(reply.body["errors"])
        codes = {404: NO_SUCH_NAME, 422: INVALID_CONFIG}
        raise Failure(sentence, codes.get(reply.status, FAILED))

    def no_daemon(self) -> Failure:
        return Failure(
            f"no daemon runs on {self.state.root}; `vllmctl start` starts one", NOT_RUNNING
        )

    def status(self, with_pids: bool = False) -> dict[str, Any]:
        """The daemon's status document. For the `pids` of whole trees it looks at every process."""
        return self.ask("GET", f"/v1/status?pids={str(with_pids).lower()}").body

    def choose(self, document: dict[str, Any], words: Sequence[str]) -> list[str]:
        """The instances that the words mean; without a word, all. Failure for one that means
        none."""
        if not words:
            return [model["name"] for model in document["models"]]
        from vllmctl.core.select import Candidate, UnknownName, select

        candidates = [
            Candidate(model["name"], model["entry"], tuple(model["labels"]))
            for model in document["models"]
        ]
        try:
            return select(candidates, words)
        except UnknownName as error:
            raise Failure(str(error), NO_SUCH_NAME) from None


def in_url(word: str) -> str:
    """A word as a part of a request's path or query, whatever bytes it was made of."""
    from urllib.parse import quote

    return quote(word.encode("utf-8", "surrogateescape"), safe="")
