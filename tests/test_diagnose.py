"""`vllmctl diagnose`: the same answer for a log from anywhere, without a daemon."""

from __future__ import annotations

import gzip
import json
import subprocess
from pathlib import Path

import pytest
from diagnosis.logs import RECORDINGS
from workplace import COMMAND, Site, wait_for

LOG = RECORDINGS / "truncated-weights.log"


def diagnose(*words: str, given: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [*COMMAND, "diagnose", *words], input=given, capture_output=True, timeout=60, check=False
    )


def test_a_file_is_diagnosed_in_words_and_in_json() -> None:
    done = diagnose(str(LOG), "--exit-code", "1")
    assert done.returncode == 0
    said = done.stdout.decode()
    for words in ("corrupt_weights", "line 104: safetensors", "remedy", "another try  may help"):
        assert words in said
    document = json.loads(diagnose(str(LOG), "--exit-code", "1", "--json").stdout)
    assert set(document) == {"class", "retry", "cause", "hint", "evidence"}
    assert (document["class"], document["retry"]) == ("corrupt_weights", True)
    assert document["evidence"][0]["line"] == 104


@pytest.mark.parametrize("form", ["stdin", "gzip", "gzip on stdin", "cut gzip"])
def test_it_may_come_through_a_pipe_and_compressed(tmp_path: Path, form: str) -> None:
    data = LOG.read_bytes()
    packed = gzip.compress(data + b"x" * 200_000)
    path = tmp_path / "x.log.gz"
    path.write_bytes(packed if form == "gzip" else packed[:-20])
    match form:
        case "stdin":
            done = diagnose("-", "--json", given=data)
        case "gzip on stdin":
            done = diagnose("-", "--json", given=packed)
        case _:
            done = diagnose(str(path), "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["class"] == "corrupt_weights"


@pytest.mark.parametrize(
    ("words", "code", "sentence"),
    [
        (("/nope.log",), 1, "/nope.log: No such file or directory"),
        (("/",), 1, "/: Is a directory"),
        (("-", "--signal", "foo"), 2, "'foo' is no signal; write a name or a number"),
        (("-", "--signal", "99"), 2, "'99' is no signal"),
        (("-", "--exit-code", "900"), 2, "900 is not in the range"),
        (("-", "--exit-code", "1", "--signal", "9"), 2, "not both"),
        ((), 2, "Missing argument 'LOGFILE'"),
    ],
)
def test_bad_input_is_told_in_a_sentence(words: tuple[str, ...], code: int, sentence: str) -> None:
    done = diagnose(*words)
    assert done.returncode == code
    assert sentence in done.stderr.decode()
    assert done.stderr.count(b"\n") == 1


@pytest.mark.parametrize("signal", ["KILL", "SIGKILL", "sigkill", "9"])
def test_the_signal_may_be_a_name_or_a_number(signal: str) -> None:
    document = json.loads(diagnose("-", "--json", "--signal", signal).stdout)
    assert document["class"] == "killed"
    assert "SIGKILL" in document["cause"]


@pytest.mark.parametrize("given", [b"", b"\x00\xff\xfe" * 5000, b"\n" * 5000, b"\r\r\r"])
def test_what_is_no_log_is_unknown_and_drives_no_terminal(given: bytes) -> None:
    done = diagnose("-", given=given)
    assert done.returncode == 0
    assert done.stdout.startswith(b"diagnosis")
    assert b"unknown" in done.stdout
    assert not set(done.stdout) & {0, 7, 27}


def test_a_token_in_the_log_is_not_repeated() -> None:
    token = "hf_" + "a1B2" * 9
    done = diagnose("-", given=f"OSError: [Errno 28] No space left: {token}\n".encode())
    assert b"disk_full" in done.stdout
    assert token.encode() not in done.stdout


def test_the_log_of_a_supervised_run_gets_the_same_answer(site: Site) -> None:
    site.simulate(m={"restart": "never", "args": {"simulate-failure": "cuda-oom"}})
    site.run("start")
    last = wait_for(lambda: site.model("m")["last_exit"], "its end")
    site.ok("shutdown")
    document = json.loads(site.ok("diagnose", site.state.log("m"), "--exit-code", "1", "--json"))
    own = last["diagnosis"]
    assert document["class"] == own["class"] == "cuda_oom"
    assert [document[key] for key in ("retry", "cause", "hint")] == [
        own[key] for key in ("retry", "cause", "hint")
    ]
