"""Which flags an installation of vLLM takes; a wrong one is told before anything starts."""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
import textwrap
from pathlib import Path

import pytest
from workplace import NOBODY, Site, runs, wait_for

from vllmctl.config.errors import InvalidConfig
from vllmctl.config.load import load
from vllmctl.vllm import installed
from vllmctl.vllm.flags import (
    FlagList,
    Takes,
    from_document,
    parse_help,
    shipped,
    to_document,
)
from vllmctl.vllm.installed import Call, Installations, installed_version

HELP = Path(__file__).parent / "vllm" / "recordings" / "help-all.txt"


# -- reading the help ------------------------------------------------------------------------


def recorded() -> FlagList:
    flags = parse_help(HELP.read_text(encoding="utf-8"), "0.32.0")
    assert flags is not None
    return flags


def test_the_shipped_list_is_that_of_the_recorded_help() -> None:
    assert shipped() == recorded()


@pytest.mark.parametrize(
    ("name", "takes", "negatable", "choices"),
    [
        ("max-model-len", Takes.ONE, False, ()),
        ("enable-prefix-caching", Takes.NOTHING, True, ()),
        ("disable-log-stats", Takes.NOTHING, False, ()),
        ("lora-modules", Takes.SEVERAL, False, ()),
        ("hf-token", Takes.MAYBE_ONE, False, ()),
        ("uds", Takes.ONE, False, ()),  # its help stands on the same line
        ("grpc", Takes.NOTHING, False, ()),
        ("runner", Takes.ONE, False, ("auto", "draft", "generate", "pooling")),
        ("tool-call-parser", Takes.ONE, False, ()),  # "or name registered": any text is taken
        ("config-format", Takes.ONE, False, ()),  # ['auto', 'hf'] is a metavar, not a choice
        ("device-memory-utilization", Takes.ONE, False, ()),  # a second long name
    ],
)
def test_a_flag_of_the_help(
    name: str, takes: Takes, negatable: bool, choices: tuple[str, ...]
) -> None:
    flag = recorded().flags[name]
    assert (flag.takes, flag.negatable, flag.choices) == (takes, negatable, choices)


def test_short_names_lead_to_long_ones() -> None:
    assert recorded().short["tp"] == "tensor-parallel-size"


@pytest.mark.parametrize("text", ["", "usage: x\n  --host HOST\n", "\0\0", "  --\n  -\n"])
def test_what_is_no_list_of_flags_is_not_taken_for_one(text: str) -> None:
    assert parse_help(text, "1") is None


def test_a_list_survives_its_file() -> None:
    assert from_document(json.loads(json.dumps(to_document(recorded())))) == recorded()


# -- asking ----------------------------------------------------------------------------------


def fake_vllm(folder: Path, script: str = 'cat "$HELP"') -> Path:
    """An executable that counts how often it is asked, and says what `script` does."""
    folder.mkdir(parents=True, exist_ok=True)
    executable = folder / "vllm"
    executable.write_text(
        f'#!/bin/sh\necho "$@" >> {folder}/asked\nHELP={HELP}\n{textwrap.dedent(script)}\n'
    )
    executable.chmod(0o755)
    return executable


def asked(executable: Path) -> int:
    count = executable.parent / "asked"
    return len(count.read_text().splitlines()) if count.exists() else 0


def call(executable: Path, **changes: str) -> Call:
    return Call((str(executable),), str(executable.parent), **changes)


def installations(tmp_path: Path) -> Installations:
    return Installations(os.environ, str(tmp_path / "cache"))


def test_an_installation_is_asked_once_also_by_the_next_process(tmp_path: Path) -> None:
    vllm = fake_vllm(tmp_path / "bin")
    for _ in range(2):
        known = installations(tmp_path)
        assert known.flags(call(vllm)).flags.flags == recorded().flags
        assert known.flags(call(vllm)).unasked == ""
    assert (vllm.parent / "asked").read_text() == "serve --help=all\n"
    assert stat.S_IMODE((tmp_path / "cache").stat().st_mode) == 0o700


def test_a_changed_executable_is_asked_anew(tmp_path: Path) -> None:
    vllm = fake_vllm(tmp_path / "bin")
    known = installations(tmp_path)
    known.flags(call(vllm))
    os.utime(vllm, (1, 1))
    known.flags(call(vllm))
    assert asked(vllm) == 2


def test_a_changed_version_is_asked_anew(tmp_path: Path) -> None:
    """`python -m vllm…` is the same file after an upgrade; what is installed beside it is not."""
    packages = tmp_path / "lib" / "python3.11" / "site-packages"
    (packages / "vllm-0.31.0.dist-info").mkdir(parents=True)
    python = fake_vllm(tmp_path / "bin").rename(tmp_path / "bin" / "python3")
    assert installed_version(str(python)) == "0.31.0"
    known = installations(tmp_path)
    assert known.flags(call(python)).flags.version == "0.31.0"
    (packages / "vllm-0.31.0.dist-info").rename(packages / "vllm-0.32.0.dist-info")
    assert known.flags(call(python)).flags.version == "0.32.0"
    assert asked(python) == 2


def test_an_upgrade_behind_a_wrapper_is_seen_before_a_flag_is_called_wrong(tmp_path: Path) -> None:
    vllm = fake_vllm(tmp_path / "bin", f'cat {tmp_path}/more "$HELP"')
    (tmp_path / "more").touch()
    known = installations(tmp_path)
    for _ in range(2):  # a wrong flag does not cost a question at every save
        assert "my-own" not in known.flags(call(vllm), ["my-own"]).flags.flags
    assert asked(vllm) == 1
    (tmp_path / "more").write_text("  --my-own X\n")
    for kept in (tmp_path / "cache").iterdir():
        os.utime(kept, (1, 1))
    assert known.flags(call(vllm), ["seed"]).unasked == ""
    assert asked(vllm) == 1
    assert "my-own" in known.flags(call(vllm), ["my-own"]).flags.flags
    assert asked(vllm) == 2


def test_a_damaged_answer_on_disk_is_asked_for_again(tmp_path: Path) -> None:
    vllm = fake_vllm(tmp_path / "bin")
    installations(tmp_path).flags(call(vllm))
    for kept in (tmp_path / "cache").iterdir():
        kept.write_text('{"version": 1, "flags": [], "short"')
    assert installations(tmp_path).flags(call(vllm)).unasked == ""
    assert asked(vllm) == 2


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        ("exit 1", "it ended with exit code 1"),
        ('cat "$HELP"; exit 3', "it ended with exit code 3"),
        ('head -n 900 "$HELP"; kill -9 $$', "signal 9 killed it"),
        ("echo usage: something else", "did not list its flags"),
        ("yes abcdefgh", "more than 1000000 bytes are no list of flags"),
        ("sleep 1000 & sleep 1000", "no answer after"),
    ],
)
def test_one_that_does_not_say_leaves_the_shipped_list(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str, reason: str
) -> None:
    monkeypatch.setattr(installed, "PATIENCE", 0.5)
    monkeypatch.setattr(installed, "MOST_BYTES", 1_000_000)
    vllm = fake_vllm(tmp_path / "bin", f"echo $$ > {tmp_path}/pid\n{script}")
    known = installations(tmp_path)
    answer = known.flags(call(vllm))
    assert answer.flags == shipped()
    assert reason in answer.unasked
    assert known.flags(call(vllm)) == answer
    assert asked(vllm) == 1  # it is not asked at every save
    pid = int((tmp_path / "pid").read_text())
    assert not runs(pid)
    wait_for(lambda: not group(pid), "what it started to be gone")


def test_what_it_leaves_behind_is_not_waited_for(tmp_path: Path) -> None:
    vllm = fake_vllm(tmp_path / "bin", f'echo $$ > {tmp_path}/pid; sleep 1000 &\ncat "$HELP"')
    assert installations(tmp_path).flags(call(vllm)).flags.flags == recorded().flags
    pid = int((tmp_path / "pid").read_text())
    wait_for(lambda: not group(pid), "what it started to be gone")


def test_it_is_asked_with_what_decides_which_vllm_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PYTHONPATH", raising=False)  # the one that is meant is in the file
    vllm = fake_vllm(
        tmp_path / "bin", 'if [ "$PYTHONPATH" ]; then echo "  --my-own X"; fi\ncat "$HELP"'
    )
    model = f"model: m, executable: {vllm}, args: {{my-own: 1}}"
    file = tmp_path / "models.yaml"
    ask = installations(tmp_path).flags
    file.write_text(f"models: {{q: {{{model}}}}}")
    with pytest.raises(InvalidConfig):
        load(str(file), {}, ask)
    file.write_text(f"models: {{q: {{{model}, env: {{PYTHONPATH: /opt/own, A: b}}}}}}")
    assert load(str(file), {}, ask).warnings == ()
    file.write_text(f"models: {{q: {{{model}, env: {{PYTHONPATH: /opt/own, VLLM_API_KEY: s}}}}}}")
    assert load(str(file), {}, ask).warnings == ()
    assert asked(vllm) == 2


def test_the_same_word_is_another_vllm_on_another_path(tmp_path: Path) -> None:
    for name, more in (("one", ""), ("two", 'echo "  --my-own X"')):
        fake_vllm(tmp_path / name, f'{more}\ncat "$HELP"')
    known = installations(tmp_path)
    found = [
        known.flags(
            Call(("env", "vllm"), str(tmp_path), (("PATH", f"{tmp_path / name}:/bin:/usr/bin"),))
        )
        for name in ("one", "two")
    ]
    assert ["my-own" in answer.flags.flags for answer in found] == [False, True]


def group(number: int) -> list[int]:
    """Living processes of a process group."""
    found = subprocess.run(["ps", "-eo", "pid=,pgid="], capture_output=True, text=True, check=True)
    rows = [line.split() for line in found.stdout.splitlines()]
    return [int(pid) for pid, pgid in rows if int(pgid) == number and runs(int(pid))]


def test_one_that_is_not_there(tmp_path: Path) -> None:
    answer = installations(tmp_path).flags(call(tmp_path / "nowhere"))
    assert "is not there" in answer.unasked


def test_one_that_goes_while_it_is_looked_at(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vllmctl.vllm.installed.find_program", lambda *_: str(tmp_path / "gone"))
    assert "is not there" in installations(tmp_path).flags(call(tmp_path / "gone")).unasked


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can run as somebody else")
def test_a_user_s_executable_is_not_run_with_root_s_rights(tmp_path: Path) -> None:
    tmp_path.chmod(0o777)
    vllm = fake_vllm(tmp_path / "bin", f"id -u > {tmp_path}/bin/who\ncat $HELP")
    vllm.parent.chmod(0o777)
    for folder in [tmp_path, *tmp_path.parents]:
        if folder != Path("/") and folder.stat().st_uid == os.geteuid():
            folder.chmod(folder.stat().st_mode | 0o011)
    installations(tmp_path).flags(call(vllm, user="nobody"))
    assert (vllm.parent / "who").read_text().strip() == str(NOBODY)


# -- a file with wrong flags -----------------------------------------------------------------


def told(tmp_path: Path, args: str, **keys: str) -> tuple[list[str], list[str]]:
    """Errors and warnings about `args: {…}` of the model q."""
    vllm = fake_vllm(tmp_path / "bin")
    more = "".join(f", {key}: {value}" for key, value in keys.items())
    file = tmp_path / "models.yaml"
    file.write_text(
        f"models:\n  q: {{model: m, executable: {vllm}{more},\n    args: {{{args}}}}}\n"
    )
    try:
        loaded = load(str(file), {}, installations(tmp_path).flags)
    except InvalidConfig as invalid:
        found = (invalid.errors, invalid.warnings)
    else:
        found = ((), loaded.warnings)
    errors, warnings = (
        [str(e).removeprefix(f"{file}:").replace(f"at {vllm}", "VERSION") for e in some]
        for some in found
    )
    return errors, warnings


@pytest.mark.parametrize(
    ("args", "complaint"),
    [
        ("max-modle-len: 5", "3:12: models.q.args.max-modle-len: is not a flag of vLLM "
         "VERSION (did you mean 'max-model-len'?)"),
        ("tp: 2", "3:12: models.q.args.tp: is not a flag of vLLM VERSION; "
         "write 'tensor-parallel-size'"),
        ("no-enforce-eager: true", "3:12: models.q.args.no-enforce-eager: is not a flag of vLLM "
         "VERSION; write 'enforce-eager: false'"),
        ("task: embed", "3:12: models.q.args.task: is not a flag of vLLM VERSION; "
         "write runner: pooling (and convert: embed, classify or reward)"),
        ("nope.a: 1", "3:12: models.q.args.nope.a: is not a flag of vLLM VERSION"),
        ("enforce-eager: 'yes'", "3:27: models.q.args.enforce-eager: is a switch, without a value "
         "(got 'yes'); write true or false"),
        ("enforce-eager: {a: 1}", "3:27: models.q.args.enforce-eager: is a switch, without a value "
         "(got a mapping); write true or false"),
        ("enforce-eager.a: 1", "3:12: models.q.args.enforce-eager.a: 'enforce-eager' is a "
         "switch, and has no parts"),
        ("disable-log-stats: false", "3:31: models.q.args.disable-log-stats: cannot be false: "
         "there is no --no-disable-log-stats; remove it"),
        ("max-model-len: true", "3:27: models.q.args.max-model-len: takes a value (got true); "
         "write it, or remove the flag"),
        ("compilation-config.x: true", "3:34: models.q.args.compilation-config.x: takes text (got "
         'true); write "true" in quotes'),
        ("allowed-origins: ['*']", "3:29: models.q.args.allowed-origins: takes one value (got a "
         "list); write '[\"*\"]' if it takes a list as JSON"),
        ("dtype: fp16", "3:19: models.q.args.dtype: must be one of auto, bfloat16, float, float16, "
         "float32, half (got 'fp16')"),
        ("runner: poling", "3:20: models.q.args.runner: must be one of auto, draft, generate, "
         "pooling (got 'poling') (did you mean 'pooling'?)"),
    ],
)  # fmt: skip
def test_a_wrong_flag(tmp_path: Path, args: str, complaint: str) -> None:
    assert told(tmp_path, args) == ([complaint], [])


@pytest.mark.parametrize(
    "args",
    [
        "max-model-len: 8k", "max_model_len: 5", "enforce-eager: false", "hf-overrides.a.b: 1",
        'compilation-config.x: "true"', "hf-overrides: {a: 1}", "lora-modules: [a=b, c=d]",
        "hf-token: true",
        "served-model-name: x", "dtype: half", "optimization-level: 3",
        "tool-call-parser: my-own", "disable-log-stats: true",
        "cudagraph-capture-sizes: [1, 2]", "gpu-memory-utilization: 0.9", "chat-template: ''",
    ],
)  # fmt: skip
def test_a_right_flag(tmp_path: Path, args: str) -> None:
    assert told(tmp_path, args) == ([], [])


def test_a_list_of_secrets_is_not_repeated_in_the_remedy(tmp_path: Path) -> None:
    errors, warnings = told(tmp_path, "hf-token: [hunter22, hunter33]")
    assert "takes one value (got a list)" in errors[-1]
    assert "hunter" not in repr((errors, warnings))


def test_what_argparse_completes_is_only_warned_about(tmp_path: Path) -> None:
    errors, warnings = told(tmp_path, "max-model: 5")
    assert errors == []
    assert warnings == [
        "3:12: models.q.args.max-model: is short for a flag of vLLM VERSION; write "
        "'max-model-len': the next version may have a second one that begins so"
    ]


def test_a_flag_of_the_defaults_is_told_once_at_its_place(tmp_path: Path) -> None:
    vllm = fake_vllm(tmp_path / "bin")
    file = tmp_path / "models.yaml"
    file.write_text(
        f"defaults: {{executable: {vllm}, args: {{nope: 1}}}}\n"
        "models: {a: {model: m}, b: {model: m}}\n"
    )
    with pytest.raises(InvalidConfig) as caught:
        load(str(file), {}, installations(tmp_path).flags)
    assert [(e.line, e.path) for e in caught.value.errors] == [(1, "defaults.args.nope")]


def test_the_simulator_s_own_flags_are_checked_strictly_and_vllm_s_are_warned_about(
    tmp_path: Path,
) -> None:
    file = tmp_path / "models.yaml"
    file.write_text(
        "models:\n  q: {model: m, engine: simulator, args: {simulate-laod-time: 1, dtpye: half}}\n"
    )
    with pytest.raises(InvalidConfig) as caught:
        load(str(file), {}, installations(tmp_path).flags)
    assert [error.path for error in caught.value.errors] == ["models.q.args.simulate-laod-time"]
    assert [error.path for error in caught.value.warnings] == ["models.q.args.dtpye"]


# -- as a user sees it -----------------------------------------------------------------------


def test_validate_asks_and_a_missing_vllm_is_a_warning(site: Site) -> None:
    vllm = fake_vllm(site.root / "bin")
    site.write(f"models: {{q: {{model: m, executable: {vllm}, args: {{max-modle-len: 5}}}}}}")
    first, second = site.run("validate"), site.run("validate")
    assert first.returncode == second.returncode == 5
    assert "asking" in first.stderr
    assert "asking" not in second.stderr
    assert "did you mean 'max-model-len'?" in second.stderr
    vllm.unlink()
    third = site.run("validate")
    assert third.returncode == 0
    assert third.stderr.count("vllmctl: warning: ") == 2
    assert f"{vllm} is not there" in third.stderr
    document = json.loads(site.run("validate", "--json").stdout)
    assert document["valid"] is True
    assert [warning["path"] for warning in document["warnings"]] == [
        "models.q.executable",
        "models.q.args.max-modle-len",
    ]


def test_a_wrong_flag_is_never_launched(site: Site) -> None:
    vllm = fake_vllm(site.root / "bin")
    model = f"model: m, executable: {vllm}, autostart: false"
    site.write(f"models: {{q: {{{model}}}}}")
    site.start()
    site.write(f"models: {{q: {{{model}, args: {{dtype: fp16}}}}}}")
    wait_for(lambda: not site.document()["daemon"]["config"]["valid"], "the file to be refused")
    assert site.document()["daemon"]["config"]["generation"] == 1
    assert asked(vllm) == 1


def test_a_first_start_says_what_it_waits_for(site: Site) -> None:
    vllm = fake_vllm(site.root / "bin", "sleep 0.3; cat $HELP")
    site.write(
        f"models: {{q: {{model: m, executable: {vllm}, autostart: false, args: {{seed: 1}}}}}}"
    )
    first = site.run("start")
    assert first.returncode == 0
    assert first.stderr.count("asking") == 1
    assert f"asking {vllm} for its flags" in first.stderr


def test_a_daemon_that_waits_for_an_answer_still_supervises(site: Site) -> None:
    vllm = fake_vllm(
        site.root / "bin", f"while [ ! -e {site.root}/go ]; do sleep 0.05; done; cat $HELP"
    )
    chat = {"engine": "simulator", "model": "demo", "args": {"simulate-load-time": 0.1}}
    site.write(json.dumps({"models": {"chat": chat}}))
    site.start()
    lazy = {"model": "m", "executable": str(vllm), "autostart": False, "args": {"seed": 1}}
    site.write(json.dumps({"models": {"chat": chat, "big": lazy}}))
    wait_for(lambda: asked(vllm) == 1, "vLLM to be asked")
    site.ok("restart", "chat")
    assert site.find("big") is None
    (site.root / "go").touch()
    wait_for(lambda: site.find("big"), "the file to be in effect")
    site.ok("shutdown")


def test_a_daemon_ends_while_it_waits_for_an_answer(site: Site) -> None:
    vllm = fake_vllm(site.root / "bin", f"echo $$ > {site.root}/pid\nsleep 1000")
    site.write("models: {}")
    site.start()
    site.write(
        f"models: {{q: {{model: m, executable: {vllm}, autostart: false, args: {{seed: 1}}}}}}"
    )
    wait_for(lambda: (site.root / "pid").exists() and asked(vllm) == 1, "vLLM to be asked")
    site.ok("shutdown")
    wait_for(lambda: not runs(int((site.root / "pid").read_text())), "the question to be gone")


def test_a_signal_while_a_daemon_starts_and_waits_for_an_answer(site: Site) -> None:
    vllm = fake_vllm(
        site.root / "bin",
        f"echo $$ > {site.root}/pid\nwhile [ ! -e {site.root}/go ]; do sleep 0.05; done\ncat $HELP",
    )
    model = f"model: m, executable: {vllm}, autostart: false, args: {{seed: 1}}"
    site.write(f"models: {{q: {{{model}}}}}")
    daemon = site.spawn("daemon")
    wait_for(lambda: asked(vllm) == 1, "vLLM to be asked")
    os.kill(daemon.pid, signal.SIGTERM)
    assert daemon.wait(20) == 0
    assert not runs(int((site.root / "pid").read_text()))
    daemon = site.spawn("daemon")
    wait_for(lambda: asked(vllm) == 2, "vLLM to be asked again")
    os.kill(daemon.pid, signal.SIGHUP)
    (site.root / "go").touch()
    wait_for(lambda: os.path.exists(site.state.socket), "the daemon to be up")
    assert site.find("q") is not None
    site.ok("shutdown")


def test_a_daemon_that_comes_back_supervises_while_it_asks(site: Site) -> None:
    """It goes on with the last good reading; what was saved meanwhile counts once it was read."""
    wait = f"while [ -e {site.root}/wait ]; do sleep 0.05; done"
    vllm = fake_vllm(site.root / "bin", f"{wait}; cat $HELP")
    chat = {
        "engine": "simulator",
        "model": "demo",
        "args": {"simulate-load-time": 0.1},
        "restart": {"delay": "50ms"},
    }
    big = {"model": "m", "executable": str(vllm), "autostart": False, "args": {"seed": 1}}
    site.write(json.dumps({"models": {"chat": chat, "big": big}}))
    site.start()
    site.kill_daemon()
    (site.root / "wait").touch()
    os.utime(vllm, (1, 1))  # as after an upgrade
    site.write(json.dumps({"models": {"chat": chat | {"labels": ["new"]}, "big": big}}))
    before = asked(vllm)
    site.ok("start", "chat")
    model = site.model("chat")
    os.kill(model["pid"], signal.SIGKILL)
    wait_for(lambda: site.model("chat")["pid"] not in (None, model["pid"]), "its restart")
    assert asked(vllm) == before + 1
    assert site.model("chat")["labels"] == []
    (site.root / "wait").unlink()
    wait_for(lambda: site.model("chat")["labels"] == ["new"], "the file to be in effect")
