"""examples/ci, as a pipeline runs it: a copy in an empty directory, and the real openai package."""

from __future__ import annotations

import base64
import json
import os
import shutil
import signal
import struct
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from workplace import Site, get, quick, runs, wait_for

EXAMPLE = Path(__file__).parents[1] / "examples" / "ci"


class Job:
    """A pipeline's working directory with the example in it, as somebody copied it."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self.root = site.root / "job"
        shutil.copytree(EXAMPLE, self.root / "ci")
        self.artefacts = self.root / "vllmctl-logs"
        self.temporary = site.root / "tmp"
        self.temporary.mkdir()
        self.environ = site.environ | {
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "TMPDIR": str(self.temporary),
        }
        self.pids: set[int] = set()

    def begin(self, *words: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [str(self.root / "ci" / "run.sh"), *words],
            cwd=self.root,
            env=self.environ,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        self._site.adopt(process)
        return process

    def ends(self, process: subprocess.Popen[str], code: int) -> tuple[str, str]:
        """What it printed; it must end with this code, and leave nothing."""
        out, err = process.communicate(timeout=60)
        assert process.returncode == code, out + err
        assert list(self.temporary.iterdir()) == []
        assert self.processes() == []
        return out, err

    def processes(self) -> list[int]:
        """Living processes that have this job's directory for temporary files in their environment
        or command line: daemon, shims, models, client."""
        found = []
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit() and runs(int(entry.name)):
                try:
                    text = (entry / "environ").read_bytes() + (entry / "cmdline").read_bytes()
                except OSError:
                    continue  # gone meanwhile, or somebody else's
                if str(self.temporary).encode() in text:
                    found.append(int(entry.name))
        return found

    def end(self) -> None:
        """Whatever a failed test has left: the daemon, its shims, its models."""
        while pids := self.processes():
            for pid in pids:
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    pass  # quicker


@pytest.fixture
def job(site: Site) -> Iterator[Job]:
    job = Job(site)
    site.callback(job.end)  # before the directory goes, and after the script was ended
    yield job
    job.end()


def models(job: Job, **keys: dict[str, Any]) -> None:
    """Other models in the place of the example's; one that loads hears no TERM, as with vLLM."""
    defaults = {"restart": "never", "stop": {"grace": "0.5s"}}
    file = job.root / "ci" / "models.yaml"
    found = {"chat": quick(), "embed": quick()} | {name: quick(**k) for name, k in keys.items()}
    file.write_text(json.dumps({"defaults": defaults, "models": found}))


def test_the_openai_package_chats_streams_and_embeds_and_nothing_is_left(job: Job) -> None:
    out, err = job.ends(job.begin(), 0)
    assert "demo/chat-8b: streamed 16 tokens" in out
    assert "demo/embed-small: 3 embeddings of 8 numbers" in out
    assert err == ""
    assert not job.artefacts.exists()


def test_another_client_finds_the_models_and_its_exit_code_is_the_scripts(job: Job) -> None:
    models(job)
    script = 'echo "$CHAT_URL $EMBED_URL"; exit 17'
    out, err = job.ends(job.begin("sh", "-c", script), 17)
    (line,) = [line for line in out.splitlines() if line.startswith("http")]
    chat, embed = line.split()
    assert chat.endswith("/v1")
    assert chat != embed
    assert get(f"{chat}/models")[0] == 0  # it has ended
    assert "vllmctl explain chat" in err
    assert "vllmctl tail -n 50 embed" in err
    assert "Application startup complete." in err
    status = json.loads((job.artefacts / "status.json").read_text())
    assert [model["state"] for model in status["models"]] == ["RUNNING", "RUNNING"]
    assert "Application startup" in (job.artefacts / "logs" / "chat.log").read_text()
    assert (job.artefacts / "events.jsonl").exists()
    assert (job.artefacts / "daemon.log").exists()


def test_a_model_that_fails_ends_it_with_the_diagnosis(job: Job) -> None:
    models(job, chat={"args": {"simulate-failure": "gated-model"}})
    out, err = job.ends(job.begin("touch", "client-ran"), 1)
    assert "chat is EXITED" in err  # restart: never
    assert "--- vllmctl explain chat" in err
    assert "  remedy " in err
    assert "cannot help before that is mended" in err
    assert "gated" in err
    assert not (job.root / "client-ran").exists()
    assert "GatedRepoError" in (job.artefacts / "logs" / "chat.log").read_text(), out


def test_a_model_that_never_gets_ready_ends_it_in_time(job: Job) -> None:
    models(job, embed={"args": {"simulate-hang-loading": True}, "stop": {"grace": "0.1s"}})
    job.environ["START_TIMEOUT"] = "2s"
    _, err = job.ends(job.begin("touch", "client-ran"), 6)
    assert "timed out after 2 s: embed is STARTING" in err
    assert "--- vllmctl tail -n 50 embed" in err
    assert not (job.root / "client-ran").exists()


def test_a_wrong_file_starts_nothing(job: Job) -> None:
    (job.root / "ci" / "models.yaml").write_text("models: {chat: {modell: x}}")
    out, err = job.ends(job.begin(), 5)
    assert "models.yaml:1:17" in err
    assert "started the daemon" not in out


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP"])
@pytest.mark.parametrize("when", ["loading", "client"])
def test_a_cancelled_job_leaves_nothing(job: Job, name: str, when: str) -> None:
    number = signal.Signals[name]
    if when == "loading":
        models(job, chat={"args": {"simulate-load-time": 60}, "stop": {"grace": "0.1s"}})
    else:
        models(job)
    process = job.begin("sh", "-c", "touch client-ran; exec sleep 1000")
    if when == "loading":
        log = "*/logs/chat.log"
        wait_for(lambda: [f for f in job.temporary.glob(log) if f.stat().st_size], "chat to load")
    else:
        wait_for((job.root / "client-ran").exists, "the client to run")
    process.send_signal(number)
    job.ends(process, 128 + number)
    assert (job.root / "client-ran").exists() == (when == "client")
    assert (job.artefacts / "logs" / "chat.log").exists()


def test_a_whole_process_group_interrupted_while_the_daemon_comes_up_leaves_nothing(
    job: Job,
) -> None:
    """As Ctrl-C does it: everybody gets the signal, at the worst moment."""
    models(job)
    process = job.begin("sleep", "1000")
    wait_for(lambda: list(job.temporary.glob("*/daemon.log")), "the daemon to be spawned")
    os.killpg(process.pid, signal.SIGINT)
    job.ends(process, 130)


def test_the_numbers_of_an_embedding_are_the_same_in_base64(site: Site) -> None:
    """What the openai package asks for when nothing is said."""
    site.simulate(embed={"args": {"runner": "pooling"}})
    site.start()
    url = f"{site.model('embed')['url']}/v1/embeddings"

    def ask(**keys: str) -> Any:
        question = json.dumps({"model": "demo", "input": "a cat"} | keys).encode()
        request = urllib.request.Request(url, question, {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=30) as response:
            return json.loads(response.read())["data"][0]["embedding"]

    numbers = ask()
    assert len(set(numbers)) > 1
    assert ask(encoding_format="float") == numbers
    packed = base64.b64decode(ask(encoding_format="base64"), validate=True)
    assert list(struct.unpack(f"<{len(numbers)}f", packed)) == numbers
    with pytest.raises(urllib.error.HTTPError, match="400") as refused:
        ask(encoding_format="hex")
    refused.value.close()
