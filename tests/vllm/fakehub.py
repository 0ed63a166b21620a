"""A hub that answers as huggingface.co does, on this machine: `HF_ENDPOINT` leads to it.

What a repository does is its owner's name: `gated/x` is there but not for everybody, `private/x`
is there for nobody who asks, `missing/x` is not there, and so on. `good/x` gives the files of a
folder. The headers are those by which huggingface_hub 2.4 tells the cases apart
(`hf_raise_for_status`).
"""

from __future__ import annotations

import hashlib
import json
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import NamedTuple

COMMIT = "5f0b02c75b57c5855da9ae460ce51323ea669d8a"


class Refusal(NamedTuple):
    status: int
    code: str = ""
    """X-Error-Code."""
    message: str = ""
    """X-Error-Message, and the body."""


REFUSALS = {
    "gated": Refusal(
        403,
        "GatedRepo",
        "Access to model gated/tiny is restricted and you are not in the authorized list. Visit "
        "https://huggingface.co/gated/tiny to ask for access.",
    ),
    "gated-anonymous": Refusal(
        401,
        "GatedRepo",
        "Access to model gated-anonymous/tiny is restricted. You must have access to it and be "
        "authenticated to access it. Please log in.",
    ),
    "private": Refusal(401, "RepoNotFound", "Repository not found"),
    "bad-token": Refusal(401, "", "Invalid credentials in Authorization header"),
    "missing": Refusal(404, "RepoNotFound", "Repository not found"),
    "revision": Refusal(404, "RevisionNotFound", "Invalid rev id: nope"),
    "broken": Refusal(500, "", "Internal Error - We're working hard to fix this"),
    "down": Refusal(503, "", "Service Unavailable"),
    "busy": Refusal(429, "", "We had to rate limit your IP"),
    "disabled": Refusal(403, "", "Access to this resource is disabled."),
}  # fmt: skip
"""By the owner of the repository."""

_PATHS = re.compile(
    r"/(?:api/models/)?(?P<owner>[^/]+)/(?P<name>[^/]+)"
    r"(?:/(?P<what>resolve|tree|revision)/(?P<revision>[^/?]+)(?:/(?P<file>[^?]+))?)?(?:\?.*)?"
)


class Hub:
    """Serves until it is closed. `url` is for HF_ENDPOINT."""

    def __init__(self, good: Path) -> None:
        self.good = good
        """The folder whose files `good/x` gives."""
        self.asked: list[str] = []
        """Every request, as method and path."""
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _Answers)
        self._server.hub = self  # type: ignore[attr-defined]
        self._thread = threading.Thread(target=self._server.serve_forever)
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _Answers(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        hub: Hub = self.server.hub  # type: ignore[attr-defined]
        hub.asked.append(f"{self.command} {self.path}")
        found = _PATHS.fullmatch(self.path)
        if found is None:
            self._refuse(Refusal(404, "", "Not Found"))
        elif found["owner"] in REFUSALS:
            self._refuse(REFUSALS[found["owner"]])
        elif found["what"] == "resolve":
            self._file(hub.good / (found["file"] or ""))
        elif found["what"] == "tree":
            self._json([_tree_entry(path) for path in _files(hub.good)])
        else:
            self._json(_model(f"{found['owner']}/{found['name']}", hub.good))

    do_HEAD = do_GET

    def _refuse(self, refusal: Refusal) -> None:
        headers = {"X-Error-Message": refusal.message}
        if refusal.code:
            headers["X-Error-Code"] = refusal.code
        body = json.dumps({"error": refusal.message}).encode()
        self._send(refusal.status, body, "application/json", headers)

    def _file(self, path: Path) -> None:
        if not path.is_file():
            self._refuse(Refusal(404, "EntryNotFound", "Entry not found"))
            return
        body = path.read_bytes()
        headers = {"ETag": f'"{_oid(body)}"', "Accept-Ranges": "bytes"}
        self._send(200, body, "application/octet-stream", headers)

    def _json(self, document: object) -> None:
        self._send(200, json.dumps(document).encode(), "application/json", {})

    def _send(self, status: int, body: bytes, kind: str, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in {
            "Content-Type": kind,
            "Content-Length": str(len(body)),
            "X-Repo-Commit": COMMIT,
            "X-Request-Id": "Root=1-6740f4a2-0123456789abcdef01234567",
            **headers,
        }.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            try:
                self.wfile.write(body)
            except OSError:
                pass  # who asked is gone: a full disk, say

    def log_message(self, format: str, *args: object) -> None:
        pass


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.is_file())


def _oid(content: bytes) -> str:
    """As git names a blob, which is what the hub's ETag of a small file is."""
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


def _tree_entry(path: Path) -> dict[str, object]:
    content = path.read_bytes()
    return {"type": "file", "oid": _oid(content), "size": len(content), "path": path.name}


def _model(name: str, folder: Path) -> dict[str, object]:
    return {
        "_id": "6740f4a20123456789abcdef",
        "id": name,
        "modelId": name,
        "sha": COMMIT,
        "private": False,
        "gated": False,
        "disabled": False,
        "tags": ["transformers", "safetensors", "llama"],
        "pipeline_tag": "text-generation",
        "library_name": "transformers",
        "siblings": [{"rfilename": path.name} for path in _files(folder)],
    }
