"""The simulator through its public door: a process, its HTTP, its signals, its log, its exit code.

What is expected of it is what real vLLM was seen to do; `docs/simulator.md` has the list.
"""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import pytest
from workplace import CERTIFICATE

MODULE = [sys.executable, "-m", "vllmctl.vllm.simulator"]
MODEL = "acme/tiny"
PATIENCE = 20.0

T = TypeVar("T")


def eventually(what: str, condition: Callable[[], T]) -> T:
    deadline = time.monotonic() + PATIENCE
    while not (value := condition()):
        assert time.monotonic() < deadline, f"never: {what}"
        time.sleep(0.01)
    return value


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class Proc(NamedTuple):
    pid: int
    name: str
    state: str
    parent: int
    group: int
    session: int


def processes() -> dict[int, Proc]:
    found = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                text = Path(f"/proc/{entry}/stat").read_text()
            except OSError:
                continue  # it ended meanwhile
            name, _, rest = text.partition("(")[2].rpartition(")")
            state, parent, group, session = rest.split()[:4]
            found[int(entry)] = Proc(int(entry), name, state, int(parent), int(group), int(session))
    return found


def title(pid: int) -> str:
    return Path(f"/proc/{pid}/cmdline").read_bytes().rstrip(b"\0").replace(b"\0", b" ").decode()


class Simulator:
    """One run, in a session of its own, which is how what it leaves behind is found again."""

    def __init__(self, directory: Path, *arguments: str, **environment: str) -> None:
        self.port = free_port()
        self.cookie = f"SIMULATOR_TEST={uuid.uuid4()}"
        key, _, value = self.cookie.partition("=")
        self.log_file = directory / f"{value}.log"
        environ = {k: v for k, v in os.environ.items() if k != "VLLM_API_KEY"}
        with self.log_file.open("wb") as log:
            self.process = subprocess.Popen(
                [*MODULE, "serve", MODEL, "--port", str(self.port), *arguments],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**environ, key: value, **environment},
                start_new_session=True,
            )
        self.pid = self.process.pid

    def log(self) -> str:
        return self.log_file.read_text()

    def says(self, text: str) -> None:
        eventually(text, lambda: text in self.log())

    def ready(self) -> Simulator:
        def is_ready() -> bool:
            assert self.process.poll() is None, self.log()
            try:
                return self.get("/health").status == 200
            except ConnectionError:
                return False

        eventually("ready", is_ready)
        return self

    def ends(self) -> int:
        return self.process.wait(PATIENCE)

    def members(self) -> dict[int, Proc]:
        """Who lives in its session."""
        return {
            pid: one
            for pid, one in processes().items()
            if one.session == self.pid and one.state != "Z"
        }

    def named(self, name: str) -> int:
        """The pid of the engine, or of the worker."""

        def find() -> int | None:
            return next((pid for pid in self.members() if title(pid) == name), None)

        pid = eventually(name, find)
        assert pid is not None
        return pid

    def is_gone(self) -> None:
        eventually("no process left", lambda: not self.members())

    def strays(self) -> list[int]:
        """Who bears its cookie, wherever it went."""
        found = []
        for pid in processes():
            try:
                environ = Path(f"/proc/{pid}/environ").read_bytes()
            except OSError:
                continue  # ended, or somebody else's
            if self.cookie.encode() in environ:
                found.append(pid)
        return found

    def clean_up(self) -> None:
        for pid in {*self.members(), *self.strays()}:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass  # it ended by itself
        self.process.wait(PATIENCE)

    def connection(self, timeout: float = PATIENCE) -> http.client.HTTPConnection:
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)

    def get(self, path: str, **headers: str) -> Answer:
        return self._ask("GET", path, None, headers)

    def post(self, path: str, body: object, timeout: float = PATIENCE, **headers: str) -> Answer:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        return self._ask("POST", path, data, headers, timeout)

    def complete(self, timeout: float = PATIENCE, **more: object) -> Answer:
        return self.post("/v1/completions", {"model": MODEL, "prompt": "a b c", **more}, timeout)

    def metric(self, name: str) -> float:
        lines = self.get("/metrics").text.splitlines()
        return sum(float(line.split()[-1]) for line in lines if line.startswith(f"vllm:{name}{{"))

    def _ask(
        self,
        method: str,
        path: str,
        body: bytes | None,
        headers: dict[str, str],
        timeout: float = PATIENCE,
    ) -> Answer:
        connection = self.connection(timeout)
        try:
            connection.request(method, path, body, headers)
            response = connection.getresponse()
            return Answer(response.status, response.read().decode())
        finally:
            connection.close()


class Answer(NamedTuple):
    status: int
    text: str

    @property
    def json(self) -> Any:
        return json.loads(self.text)


Start = Callable[..., Simulator]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    running: list[Simulator] = []

    def start(*arguments: str, load: float = 0.02, **environment: str) -> Simulator:
        one = Simulator(tmp_path, "--simulate-load-time", str(load), *arguments, **environment)
        running.append(one)
        return one

    try:
        yield start
    finally:
        for one in running:
            one.clean_up()


def refused(*arguments: str) -> str:
    """What a wrong command line is told."""
    done = subprocess.run([*MODULE, *arguments], capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode == 2
    return done.stderr


# What it answers.


def test_a_completion_is_answered_and_counted(start: Start) -> None:
    one = start("--served-model-name", "tiny", MODEL).ready()
    assert [model["id"] for model in one.get("/v1/models").json["data"]] == ["tiny", MODEL]
    answer = one.complete(max_tokens=5).json
    assert answer["object"] == "text_completion"
    assert answer["model"] == MODEL
    assert answer["id"].startswith("cmpl-")
    assert len(answer["choices"][0]["text"].split()) == 5
    assert answer["choices"][0]["finish_reason"] == "length"
    assert answer["usage"]["prompt_tokens"] == 3
    assert answer["usage"]["completion_tokens"] == 5
    assert one.complete(max_tokens=5).json["choices"] == answer["choices"]
    assert one.complete().json["usage"]["completion_tokens"] == 16
    assert one.metric("prompt_tokens_total") == 9
    assert one.metric("generation_tokens_total") == 26
    assert one.metric("request_success_total") == 3
    assert one.metric("num_requests_running") == 0
    assert one.get("/version").json == {"version": "0.32.0"}
    assert one.get("/load").status == 200


def test_a_chat_is_streamed_as_vllm_does_it(start: Start) -> None:
    one = start().ready()
    body = {
        "model": MODEL,
        "messages": [{"role": "user", "content": "hi"}],
        "max_tokens": 4,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    answer = one.post("/v1/chat/completions", body)
    events = answer.text.split("\n\n")
    assert events[-2:] == ["data: [DONE]", ""]
    chunks = [json.loads(event.removeprefix("data: ")) for event in events[:-2]]
    assert {chunk["object"] for chunk in chunks} == {"chat.completion.chunk"}
    assert chunks[0]["choices"][0]["delta"] == {"role": "assistant", "content": ""}
    words = [chunk["choices"][0]["delta"]["content"] for chunk in chunks[1:-1]]
    assert chunks[-2]["choices"][0]["finish_reason"] == "length"
    assert chunks[-1]["usage"]["completion_tokens"] == len(words) == 4
    whole = one.post("/v1/chat/completions", {**body, "stream": False}).json
    assert whole["choices"][0]["message"]["content"] == "".join(words).lstrip()


@pytest.mark.parametrize(
    ("path", "body", "status", "kind"),
    [
        ("/v1/completions", {"model": "nope", "prompt": "x"}, 404, "NotFoundError"),
        ("/v1/completions", b"{", 400, "BadRequestError"),
        ("/v1/completions", {"model": MODEL}, 400, "BadRequestError"),
        ("/v1/completions", {"prompt": "x", "max_tokens": 0}, 400, "BadRequestError"),
        ("/v1/completions", {"prompt": "x", "max_tokens": 99}, 400, "BadRequestError"),
        ("/v1/chat/completions", {"messages": "x"}, 400, "BadRequestError"),
    ],
)
def test_wrong_requests_get_vllms_errors(
    one_for_all: Simulator, path: str, body: object, status: int, kind: str
) -> None:
    answer = one_for_all.post(path, body)
    assert answer.status == status
    assert answer.json["error"]["type"] == kind
    assert answer.json["error"]["code"] == status


def test_a_connection_is_kept_open(one_for_all: Simulator) -> None:
    connection = one_for_all.connection()
    try:
        for path in ("/health", "/nope", "/v1/models"):
            connection.request("GET", path)
            response = connection.getresponse()
            response.read()
            assert not response.will_close
    finally:
        connection.close()


def test_prompts_in_a_list_are_all_answered(one_for_all: Simulator) -> None:
    answer = one_for_all.complete(prompt=["a", "b"], n=2, max_tokens=3).json
    assert [choice["index"] for choice in answer["choices"]] == [0, 1, 2, 3]
    assert answer["usage"]["completion_tokens"] == 12
    embeddings = one_for_all.post("/v1/embeddings", {"model": MODEL, "input": ["a", "b"]}).json
    assert [len(one["embedding"]) for one in embeddings["data"]] == [8, 8]


@pytest.fixture(scope="module")
def one_for_all(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Simulator]:
    """A simulator for the tests that only ask it things."""
    one = Simulator(
        tmp_path_factory.mktemp("simulator"),
        "--simulate-load-time=0.1",
        "--max-model-len=64",
    )
    try:
        yield one.ready()
    finally:
        one.clean_up()


def test_a_client_that_goes_away_ends_its_request_and_is_not_logged(start: Start) -> None:
    one = start("--simulate-token-time", "0.02").ready()
    connection = one.connection()
    body = json.dumps({"model": MODEL, "prompt": "x", "stream": True, "max_tokens": 9999})
    connection.request("POST", "/v1/completions", body)
    response = connection.getresponse()
    assert response.readline().startswith(b"data: ")
    eventually("running", lambda: one.metric("num_requests_running") == 1)
    response.close()
    connection.close()
    eventually("aborted", lambda: one.metric("num_requests_running") == 0)
    with pytest.raises(TimeoutError):
        one.complete(timeout=0.1, max_tokens=9999)
    eventually("aborted too", lambda: one.metric("request_success_total") == 2)
    assert "Traceback" not in one.log()


def test_with_a_certificate_it_speaks_tls_and_nothing_else(start: Start) -> None:
    one = start("--ssl-certfile", CERTIFICATE, "--simulate-token-time", "0.02")
    one.says("Starting vLLM server on https://127.0.0.1")
    one.says("Application startup complete.")
    with pytest.raises((ConnectionError, http.client.HTTPException)):
        one.get("/health")
    trust = ssl.create_default_context(cafile=CERTIFICATE)
    trust.check_hostname = False
    connection = http.client.HTTPSConnection("127.0.0.1", one.port, context=trust)

    def running() -> float:
        connection.request("GET", "/metrics")
        lines = connection.getresponse().read().decode().splitlines()
        (line,) = (line for line in lines if line.startswith("vllm:num_requests_running{"))
        return float(line.split()[-1])

    other = http.client.HTTPSConnection("127.0.0.1", one.port, context=trust)
    body = json.dumps({"model": MODEL, "prompt": "x", "stream": True, "max_tokens": 9999})
    other.request("POST", "/v1/completions", body)
    response = other.getresponse()
    assert response.readline().startswith(b"data: ")
    eventually("running", lambda: running() == 1)
    response.close()
    other.close()
    eventually("aborted, since its client has gone", lambda: running() == 0)
    connection.close()
    assert "Traceback" not in one.log()


def test_a_certificate_that_cannot_be_used_ends_the_start(start: Start) -> None:
    one = start("--ssl-certfile", __file__)
    assert one.ends() == 1
    assert f"error: cannot use {__file__} for TLS: " in one.log()
    one.is_gone()


def test_more_requests_than_max_num_seqs_wait(start: Start) -> None:
    one = start("--simulate-token-time", "0.02", "--max-num-seqs", "2").ready()
    asking = threading.Thread(
        target=lambda: one.complete(prompt=["a", "b", "c"], max_tokens=20), daemon=True
    )
    asking.start()
    eventually("waiting", lambda: one.metric("num_requests_waiting") == 1)
    assert one.metric("num_requests_running") == 2
    asking.join(PATIENCE)
    assert one.metric("generation_tokens_total") == 60


def test_the_api_key_protects_v1_only(start: Start) -> None:
    one = start(VLLM_API_KEY="secret").ready()
    assert one.get("/v1/models").status == 401
    assert one.complete().status == 401
    assert one.get("/v1/models", Authorization="Bearer wrong").status == 401
    assert one.get("/v1/models", Authorization="Bearer secret").status == 200
    assert one.get("/metrics").status == 200


# Its command line.


def test_a_pooling_model_has_no_completions_and_no_model_has_all(start: Start) -> None:
    one = start("--runner", "pooling").ready()
    assert one.complete().status == 404
    assert one.complete().json == {"detail": "Not Found"}
    assert one.post("/v1/chat/completions", {}).status == 404
    assert one.post("/v1/embeddings", {"model": MODEL, "input": "a"}).status == 200
    whisper = start("--simulate-transcription").ready()
    assert whisper.complete().status == 404
    assert whisper.post("/v1/embeddings", {"model": MODEL, "input": "a"}).status == 404


def test_a_sleeping_engine_says_so_and_answers_once_it_is_awake(start: Start) -> None:
    one = start("--enable-sleep-mode", VLLM_SERVER_DEV_MODE="1").ready()
    awake = 'sleep_state="awake"} 1.0'
    assert awake in one.get("/metrics").text
    assert one.post("/sleep?level=1", b"").status == 200
    assert one.get("/is_sleeping").json == {"is_sleeping": True}
    assert awake not in one.get("/metrics").text
    with pytest.raises(TimeoutError):
        one.complete(timeout=0.3, max_tokens=1)
    assert one.post("/wake_up", b"").status == 200
    assert one.complete(max_tokens=1).status == 200


@pytest.mark.parametrize("arguments", [["--enable-sleep-mode"], ["--no-enable-sleep-mode"], []])
def test_sleep_is_for_developers_who_asked_for_it(start: Start, arguments: list[str]) -> None:
    one = start(*arguments, VLLM_SERVER_DEV_MODE="0" if len(arguments) else "1").ready()
    assert one.post("/sleep", b"").status == 404


def test_flags_of_vllm_are_accepted(start: Start) -> None:
    start(
        "--enable-prefix-caching",
        *("--gpu-memory-utilization", "0.9"),
        "--hf-overrides={'a': 1}",
        *("-tp", "2", "--lora-modules", "a=/a", "b=/b", "--no-enable-log-requests"),
        *("--max_model_len", "2048"),
        "--no-simulate-orphan",
    ).ready()


def test_an_unknown_simulate_flag_is_refused() -> None:
    assert "did you mean --simulate-load-time?" in refused("serve", "x", "--simulate-laod-time=1")
    assert "did you mean cuda-oom?" in refused("serve", "x", "--simulate-failure", "cuda-om")
    assert "invalid value" in refused("serve", "x", "--simulate-load-time", "soon")
    assert "expected a value" in refused("serve", "x", "--simulate-load-time")
    assert "no model" in refused("serve", "--port", "8000")


def test_help_explains_every_flag() -> None:
    done = subprocess.run([*MODULE, "--help"], capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode == 0
    for word in ("--simulate-load-time", "--simulate-hang-after", "cuda-oom", "--port"):
        assert word in done.stdout


# A start, and its log.


def test_a_start_tells_its_progress_in_vllms_words(start: Start) -> None:
    one = start().ready()
    one.says("Application startup complete.")
    log = one.log_file.read_bytes().decode()
    position = 0
    for text in (
        "Resolved architecture:",
        "Initializing a V1 LLM engine",
        "Starting to load model",
        "\rLoading safetensors checkpoint shards:   0% Completed | 0/4 [",
        "\rLoading safetensors checkpoint shards: 100% Completed | 4/4 [",
        "Loading weights took",
        "torch.compile takes",
        "\rCapturing CUDA graphs (mixed prefill-decode, PIECEWISE):  40%|████",
        "KV cache size:",
        "init engine (profile, create kv cache, warmup model) took",
        "Application startup complete.",
    ):
        position = log.find(text, position)
        assert position >= 0, text
    engine, worker = one.named("VLLM::EngineCore"), one.named("VLLM::Worker")
    for process, pid in (("APIServer", one.pid), ("EngineCore", engine), ("Worker", worker)):
        assert f"({process} pid={pid}) INFO " in log


def test_the_port_refuses_connections_until_ready_but_is_taken_at_once(start: Start) -> None:
    one = start("--simulate-hang-loading")
    one.says("Starting to load model")
    with pytest.raises(ConnectionRefusedError):
        one.get("/health")
    two = start("--port", str(one.port))
    assert two.ends() == 1
    assert "OSError: [Errno 98] Address already in use" in two.log()


def test_the_port_is_free_for_the_next_one_at_once(start: Start) -> None:
    one = start().ready()
    # The side that closes first leaves a connection in TIME_WAIT: here it is the server.
    one.get("/health", Connection="close")
    one.process.kill()
    one.ends()
    two = start("--port", str(one.port))
    two.port = one.port
    two.ready()


# Its processes.


def test_the_tree_is_vllms(start: Start) -> None:
    one = start().ready()
    engine, worker = one.named("VLLM::EngineCore"), one.named("VLLM::Worker")
    members = one.members()
    assert set(members) == {one.pid, engine, worker}
    assert members[engine].parent == one.pid
    assert members[worker].parent == engine
    assert {member.group for member in members.values()} == {one.pid}
    assert MODEL in title(one.pid)
    assert one.cookie.encode() in Path(f"/proc/{one.pid}/environ").read_bytes()
    assert one.cookie.encode() not in Path(f"/proc/{engine}/environ").read_bytes()


def test_term_while_ready_ends_all_with_0(start: Start) -> None:
    one = start().ready()
    one.process.terminate()
    assert one.ends() == 0
    one.is_gone()
    assert "Application shutdown complete." in one.log()


def test_term_cuts_short_what_is_being_answered(start: Start) -> None:
    one = start("--simulate-token-time", "0.02").ready()
    answers: list[Answer] = []
    asking = threading.Thread(target=lambda: answers.append(one.complete(max_tokens=9999)))
    asking.start()
    try:
        eventually("running", lambda: one.metric("num_requests_running") == 1)
        one.process.terminate()
        assert one.ends() == 0
    finally:
        one.clean_up()
        asking.join(PATIENCE)
    assert answers[0].status == 200
    assert answers[0].json["choices"][0]["finish_reason"] == "abort"


def test_term_waits_for_requests_with_a_shutdown_timeout(start: Start) -> None:
    one = start("--simulate-token-time", "0.02", "--shutdown-timeout", "20").ready()
    answers: list[Answer] = []
    asking = threading.Thread(target=lambda: answers.append(one.complete(max_tokens=30)))
    asking.start()
    try:
        eventually("running", lambda: one.metric("num_requests_running") == 1)
        one.process.terminate()
        assert one.ends() == 0
    finally:
        one.clean_up()
        asking.join(PATIENCE)
    assert answers[0].json["usage"]["completion_tokens"] == 30


def test_term_while_importing_kills(start: Start) -> None:
    one = start(load=1000)
    one.says("Automatically detected platform")
    one.process.terminate()
    assert one.ends() == -signal.SIGTERM


def test_term_while_loading_is_ignored(start: Start) -> None:
    one = start(load=1.0)
    one.says("Starting to load model")
    for pid in one.members():
        os.kill(pid, signal.SIGTERM)
    one.ready()
    assert len(one.members()) == 3


def test_ctrl_c_while_loading_ends_all(start: Start) -> None:
    one = start("--simulate-hang-loading")
    one.says("Starting to load model")
    os.killpg(one.pid, signal.SIGINT)
    assert one.ends() == -signal.SIGINT
    one.is_gone()
    assert "KeyboardInterrupt" not in one.log()


def test_an_engine_that_is_killed_ends_the_server_with_0(start: Start) -> None:
    one = start("--simulate-notice-time", "0.1").ready()
    os.kill(one.named("VLLM::EngineCore"), signal.SIGKILL)
    assert one.ends() == 0
    one.is_gone()
    assert "EngineDeadError" in one.log()
    assert "Application shutdown complete." in one.log()


def test_a_worker_that_is_killed_takes_the_engine_along(start: Start) -> None:
    one = start("--simulate-notice-time", "0.1").ready()
    os.kill(one.named("VLLM::Worker"), signal.SIGKILL)
    assert one.ends() == 0
    one.is_gone()
    assert "Worker proc VllmWorker-0 died unexpectedly, shutting down executor." in one.log()
    assert "EngineDeadError" in one.log()


def test_a_worker_that_is_killed_while_loading_fails_the_start(start: Start) -> None:
    one = start("--simulate-hang-loading")
    one.says("Starting to load model")
    os.kill(one.named("VLLM::Worker"), signal.SIGKILL)
    assert one.ends() == 1
    one.is_gone()
    assert one.log().rstrip().endswith("Failed core proc(s): {}")


def test_a_server_that_is_killed_leaves_engine_and_worker(start: Start) -> None:
    one = start().ready()
    engine, worker = one.named("VLLM::EngineCore"), one.named("VLLM::Worker")
    one.process.kill()
    assert one.ends() == -signal.SIGKILL
    assert set(one.members()) == {engine, worker}
    with pytest.raises(ConnectionRefusedError):
        one.get("/health")
    os.kill(engine, signal.SIGTERM)
    one.is_gone()


@pytest.mark.parametrize("how", ["SIGSTOP", "--simulate-hang-after"])
def test_a_hung_engine_is_seen_only_by_a_completion(start: Start, how: str) -> None:
    one = start(*([how, "0"] if how.startswith("--") else [])).ready()
    if how == "SIGSTOP":
        os.kill(one.named("VLLM::EngineCore"), signal.SIGSTOP)
    with pytest.raises(TimeoutError):
        one.complete(timeout=0.3, max_tokens=1)
    assert one.get("/health").status == 200
    assert one.get("/v1/models").status == 200
    assert one.metric("num_requests_running") == 0
    one.process.terminate()
    assert one.ends() == 0
    one.is_gone()


# What it can be told to do.


class Row(NamedTuple):
    """A failure: its code, and the line that decides, behind what it says before it."""

    name: str
    code: int
    process: str
    root: str


FAILURES = [
    Row("unknown-flag", 2, "", "vllm: error: unrecognized arguments: --max-model-lenn 256"),
    Row("missing-path", 1, "APIServer", "HFValidationError: Repo id must be in the form"),
    Row("offline", 1, "APIServer", "LocalEntryNotFoundError: Cannot find an appropriate cached"),
    Row("max-model-len", 1, "APIServer", "Value error, User-specified max_model_len (99999) is"),
    Row("port-in-use", 1, "APIServer", "OSError: [Errno 98] Address already in use"),
    Row("unknown-architecture", 1, "APIServer", "Value error, The checkpoint you are trying to"),
    Row("truncated-weights", 1, "Worker", "SafetensorError: Error while deserializing header"),
    Row("shape-mismatch", 1, "Worker", "RuntimeError: The size of tensor a (256) must match"),
    Row("no-weights", 1, "Worker", "RuntimeError: Cannot find any model weights with `acme/tiny`"),
    Row("lora-missing", 1, "APIServer", "ValueError: Loading lora x failed: No adapter found"),
    Row("chat-template-missing", 1, "APIServer", "VLLMValidationError: The supplied chat templa"),
    Row("cuda-oom", 1, "Worker", "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate"),
    Row("gpu-memory-busy", 1, "Worker", "ValueError: Free memory on device cuda:0"),
    Row("kv-cache-too-small", 1, "EngineCore", "ValueError: To serve at least one request with"),
    Row("gated-model", 1, "APIServer", "OSError: You are trying to access a gated repo."),
    Row("disk-full", 1, "Worker", "OSError: [Errno 28] No space left on device"),
    Row("nccl", 1, "Worker", "DistBackendError: NCCL error in:"),
    Row("missing-dependency", 1, "", "ModuleNotFoundError: No module named"),
]


@pytest.mark.parametrize("row", FAILURES, ids=lambda row: row.name)
def test_a_failed_start_reads_as_vllms(start: Start, row: Row) -> None:
    one = start("--simulate-failure", row.name)
    assert one.ends() == row.code
    one.is_gone()
    lines = one.log().splitlines()
    root = next(line for line in lines if row.root in line)
    assert root.startswith(f"({row.process} pid=") == bool(row.process)
    if row.process in ("EngineCore", "Worker"):
        assert "] " in root.partition(" ERROR ")[2]
        assert "RuntimeError: Engine core initialization failed. See root cause above." in lines[-1]
        assert lines[-1].endswith("Failed core proc(s): {}")
        assert len(lines) - lines.index(root) > 60
    if row.code == 1:
        assert any("Traceback (most recent call last):" in line for line in lines)


def test_every_failure_is_tested() -> None:
    done = subprocess.run([*MODULE, "--help"], capture_output=True, text=True, timeout=PATIENCE)
    listed = done.stdout.partition("Failures for --simulate-failure:\n")[2].splitlines()
    assert [line.split()[0] for line in listed] == [row.name for row in FAILURES]


def test_a_failure_ends_once_its_file_is_there(start: Start, tmp_path: Path) -> None:
    cure = tmp_path / "cured"
    failing = ("--simulate-failure", "cuda-oom", "--simulate-failure-until", str(cure))
    assert start(*failing).ends() == 1
    cure.touch()
    start(*failing).ready()


def test_an_engine_can_die_by_itself(start: Start) -> None:
    one = start("--simulate-engine-death-after", "0", "--simulate-notice-time", "0")
    assert one.ends() == 0
    one.is_gone()
    assert "EngineDeadError" in one.log()


def test_a_request_fails_when_the_engine_dies(start: Start) -> None:
    one = start("--simulate-token-time", "5").ready()
    engine = one.named("VLLM::EngineCore")
    killing = threading.Timer(0.1, os.kill, (engine, signal.SIGKILL))
    killing.start()
    answer = one.complete()
    killing.join()
    assert answer.status == 500
    assert answer.json["error"]["type"] == "InternalServerError"
    assert one.ends() == 0


def test_it_exits_when_told_to(start: Start) -> None:
    one = start("--simulate-exit-after", "0", "--simulate-exit-code", "7")
    assert one.ends() == 7
    one.is_gone()


def test_ignore_term_means_always(start: Start) -> None:
    one = start("--simulate-ignore-term").ready()
    os.killpg(one.pid, signal.SIGTERM)
    assert one.complete().status == 200
    assert len(one.members()) == 3
    for pid in one.members():
        ignored = Path(f"/proc/{pid}/status").read_text().partition("SigIgn:")[2].split()[0]
        assert int(ignored, 16) & 1 << (signal.SIGTERM - 1)


def test_an_orphan_leaves_session_and_tree(start: Start) -> None:
    one = start("--simulate-orphan").ready()
    tree = set(one.members())
    (orphan,) = eventually("orphan", lambda: set(one.strays()) - tree)
    assert len(tree) == 3
    assert processes()[orphan].parent not in tree
    one.process.terminate()
    assert one.ends() == 0
    os.kill(orphan, signal.SIGTERM)
    assert os.readlink(f"/proc/{orphan}/fd/1") == str(one.log_file)
    with pytest.raises(ConnectionRefusedError):
        one.get("/health")
    assert processes()[orphan].state != "Z"


def test_health_can_fail_and_be_slow(start: Start) -> None:
    one = start("--simulate-unhealthy-after", "0", "--simulate-slow-health", "0.2")
    one.says("Application startup complete.")
    began = time.monotonic()
    assert one.get("/health").status == 503
    assert time.monotonic() - began >= 0.2
    assert one.complete().status == 200


def test_chatter_is_numbered_without_a_gap(start: Start) -> None:
    one = start("--simulate-log-lines-per-second", "2000").ready()
    one.says("chatter line 100\n")
    one.process.terminate()
    one.ends()
    lines = [line for line in one.log().splitlines() if "chatter line" in line]
    assert [int(line.split()[-1]) for line in lines] == list(range(1, len(lines) + 1))
    assert all(line.startswith(f"(APIServer pid={one.pid}) INFO ") for line in lines)
