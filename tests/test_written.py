"""The corpus of written logs is what it says it is. The diagnosis of it is tested elsewhere."""

from __future__ import annotations

import re
import statistics
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from vllm.written import (
    ALL,
    STYLES,
    Written,
    build,
    dressed,
    interleaved,
    lines_of,
    root_lines,
)

CLASSES = frozenset(
    {
        "cuda_oom",
        "gpu_memory_busy",
        "kv_cache_too_small",
        "host_oom",
        "shm_too_small",
        "bad_args",
        "model_not_found",
        "hf_auth",
        "network",
        "disk_full",
        "port_in_use",
        "unsupported_model",
        "corrupt_weights",
        "unsupported_hardware",
        "cuda_driver",
        "nccl",
        "gpu_fault",
        "missing_dependency",
        "engine_dead",
        "engine_hang",
        "start_timeout",
        "exec_failed",
        "killed",
        "clean_exit",
        "unknown",
    }
)
HOPELESS = frozenset({"bad_args", "model_not_found", "hf_auth", "unsupported_model"})
TESTS = Path(__file__).parent

each = pytest.mark.parametrize("entry", ALL, ids=lambda entry: entry.name)


def process_of(line: bytes) -> bytes:
    plain = re.sub(rb"\x1b\[[0-9;]*m", b"", line)
    found = re.match(rb"\((?:APIS|Engine|Worker|VllmW|RayW)[^)]*pid=[^)]*\)", plain)
    return found[0] if found else b""


@each
def test_the_words_of_the_root_cause_are_where_the_entry_says(entry: Written) -> None:
    found = root_lines(entry)
    assert bool(found) == bool(entry.root)
    if found:
        first = lines_of(entry)[found[0] - 1]
        assert first.startswith(entry.by)
        assert entry.by or not first.startswith("("), f"{entry.name} does not say whose line it is"


def test_an_entry_says_only_what_can_be_meant() -> None:
    for entry in ALL:
        assert entry.classes, entry.name
        assert set(entry.classes) <= CLASSES, entry.name
        assert len(set(entry.classes)) == len(entry.classes), entry.name
        assert (entry.exit_code is None) != (entry.signal is None), entry.name
        assert entry.signal is None or entry.signal.startswith("SIG"), entry.name
        assert entry.ordered in {"", "stop", "start_timeout", "hang"}, entry.name
        assert entry.retry or entry.classes[0] in HOPELESS, entry.name
        assert entry.retry or not entry.ready, f"{entry.name} had been ready: try again"


def test_a_server_was_ready_if_and_only_if_its_log_says_so() -> None:
    for entry in ALL:
        came_up = any("Application startup complete." in line for line in lines_of(entry))
        # Up to 0.6.4 the port was bound after this line: the start itself fails there.
        assert came_up == (entry.ready or entry.name == "port-after-the-start"), entry.name


def test_a_log_ends_with_a_line_end_or_in_a_bar_or_is_empty() -> None:
    for entry in ALL:
        log = build(entry)
        assert log.endswith((b"\n", b"it/s]")) or log == b"", entry.name
        assert b"{rank}" not in log, entry.name


def test_no_name_and_no_log_is_there_twice() -> None:
    assert len({entry.name for entry in ALL}) == len(ALL)
    by_log: dict[tuple[bytes, str | None, str], str] = {}
    for entry in ALL:
        key = (build(entry), entry.signal, entry.ordered)
        assert key not in by_log, f"{entry.name} is {by_log[key]}"
        by_log[key] = entry.name


def test_each_class_has_two_entries_at_two_versions() -> None:
    count = Counter(entry.classes[0] for entry in ALL)
    assert {name for name in CLASSES if count[name] < 2} == set()
    # A program that does not start has no version.
    for name in CLASSES - {"exec_failed"}:
        assert len({entry.version for entry in ALL if entry.classes[0] == name}) >= 2, name


def test_each_era_and_each_number_of_workers_is_there() -> None:
    eras = {tuple(int(part) for part in entry.version.split(".")[:2]) for entry in ALL}
    assert {(0, minor) for minor in range(4, 28)} <= eras
    assert (0, 32) in eras
    assert {1, 2, 4, 8} == {entry.tp for entry in ALL}


def test_the_cause_stands_as_far_from_the_end_as_in_real_logs() -> None:
    """In some 200 real logs: a median of 25 lines above the end, hundreds with many workers."""
    first, last = [], []
    for entry in ALL:
        found = root_lines(entry)
        if found and "clean_exit" not in entry.classes:
            length = len(lines_of(entry))
            first.append(length - found[0])
            last.append(length - found[-1])
    assert 15 <= statistics.median(last) <= 60
    assert 15 <= statistics.median(first) <= 80
    assert sum(1 for distance in first if distance >= 150) >= 5
    assert max(first) >= 300


def test_a_log_is_the_same_in_another_process_with_another_hash_seed() -> None:
    program = (
        "import hashlib, vllm.written as w; "
        "print(hashlib.sha256(b''.join(w.build(e) + w.interleaved(w.build(e), 3) for e in w.ALL))"
        ".hexdigest())"
    )
    said = {
        subprocess.run(
            [sys.executable, "-c", program],
            cwd=TESTS,
            check=True,
            capture_output=True,
            text=True,
            env={"PYTHONHASHSEED": seed, "PYTHONPATH": str(TESTS)},
        ).stdout
        for seed in ("1", "2")
    }
    assert len(said) == 1


@pytest.mark.parametrize("style", STYLES)
def test_a_dressed_log_still_has_every_word(style: str) -> None:
    for entry in ALL:
        log = build(entry)
        shown = dressed(log, style)
        assert shown != log or log == b"" or style == "coloured prefixes"
        assert shown.count(b"\n") == log.count(b"\n")
        assert entry.root.encode() in shown


def test_the_dresses_look_as_their_tools_do() -> None:
    log = b"\x1b[1;36m(APIServer pid=1)\x1b[0;0m INFO 11-23 22:25:38 [a.py:1] Hello\n"
    assert dressed(log, "compose").startswith(b"vllm-1  | \x1b[1;36m(APIServer")
    assert dressed(log, "syslog").startswith(
        b"Nov 23 22:25:38 gpu-07 vllm[4242]: #033[1;36m(APIServer pid=1)#033[0;0m INFO"
    )
    assert re.match(rb"2025-11-23T22:25:38\.\d{9}Z \x1b", dressed(log, "kubectl"))
    assert dressed(log, "buildkite").startswith(b"[2025-11-23T22:25:38Z] \x1b")
    assert dressed(log, "grep -n").startswith(b"1:\x1b")
    assert dressed(log, "markdown quote").startswith(b"> \x1b")
    assert dressed(log, "systemd").startswith(b"python[123]: \x1b")
    assert dressed(log, "line ends of Windows").endswith(b"Hello\r\n")
    plain = b"(APIServer pid=1) INFO\n"
    assert dressed(plain, "coloured prefixes") == b"\x1b[1;36m(APIServer pid=1)\x1b[0;0m INFO\n"


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_interleaving_changes_only_the_order_across_processes(seed: int) -> None:
    """Each process's own lines keep their order, and no byte but line ends behind bars is lost."""
    changed = 0
    for entry in ALL:
        log = build(entry)
        mixed = interleaved(log, seed)
        assert sorted(mixed.replace(b"\n", b"")) == sorted(log.replace(b"\n", b""))
        assert interleaved(log, seed) == mixed
        changed += mixed != log
        if b"it/s]" in log or b"s/it]" in log:
            continue  # glued lines have lost their beginning
        before, after = (
            {
                who: [line for line in text.split(b"\n") if process_of(line) == who]
                for who in map(process_of, text.split(b"\n"))
            }
            for text in (log, mixed)
        )
        assert {who: [line for line in lines if line] for who, lines in before.items()} == {
            who: [line for line in lines if line] for who, lines in after.items()
        }
    assert changed > len(ALL) // 2


def test_interleaving_glues_a_bar_to_the_line_behind_it() -> None:
    log = b"\rCapturing CUDA graphs:  40%|####      | 27/67 [00:04<00:06,  5.93it/s]\nINFO more\n"
    glued = [interleaved(log, seed) for seed in range(20)]
    assert any(b"it/s]INFO more" in text for text in glued)
    assert any(b"it/s]\nINFO more" in text for text in glued)
