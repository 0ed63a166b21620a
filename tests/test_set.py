"""`vllmctl set` and `unset`: the file is as it was, but for the one value; or exactly as it was."""

from __future__ import annotations

import fcntl
import json
import os
import resource
import signal
import stat
import struct
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from workplace import NOBODY, Site, quick, wait_for

from vllmctl import cli
from vllmctl.editing import replace

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")

GOOD = """\
# what runs here
defaults:
  env: {HF_HOME: /data/hf}

models:
  chat:   # the big one
    model: Qwen/Qwen3-8B
    args: {max-model-len: 4096}   # enough
    env: {HF_TOKEN: hf_abcdefghijklmnopqrst}
"""


@dataclass(frozen=True)
class Done:
    code: int
    out: str
    err: str


class Folder:
    """A directory with a models.yaml, and the command line on it, in this process."""

    def __init__(self, root: Path, run: Callable[..., Done]) -> None:
        self.root = root
        self.file = root / "models.yaml"
        self.file.write_text(GOOD)
        self._run = run

    def run(self, *words: str) -> Done:
        """Nothing but the files that were there may be there afterwards."""
        before = sorted(self.root.rglob("*"))
        done = self._run("-c", str(self.file), *words)
        assert sorted(self.root.rglob("*")) == before, "something was left behind"
        assert "Traceback" not in done.err
        assert "internal error" not in done.err
        return done

    def ok(self, *words: str) -> str:
        done = self.run(*words)
        assert done.code == 0, done.err
        assert done.err == ""
        return done.out.replace(f"{self.root}/", "")

    def refused(self, code: int, *words: str) -> str:
        """The complaint; the file is the very same, byte for byte."""
        before = self.file.read_bytes(), os.stat(self.file).st_ino
        done = self.run(*words)
        assert (done.code, done.out) == (code, ""), done.err
        assert done.err.startswith("vllmctl: ")
        assert (self.file.read_bytes(), os.stat(self.file).st_ino) == before
        return done.err.replace(f"{self.root}/", "")


@pytest.fixture
def folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Folder:
    def run(*words: str) -> Done:
        monkeypatch.setattr("sys.argv", ["vllmctl", *words])
        code = cli.main()
        printed = capsys.readouterr()
        return Done(code, printed.out, printed.err)

    monkeypatch.setenv("VLLMCTL_STATE_DIR", str(tmp_path / "state"))
    here = tmp_path / "here"
    here.mkdir()
    return Folder(here, run)


# -- what it says and does -------------------------------------------------------------------


def test_a_change_is_told_with_its_place(folder: Folder) -> None:
    assert folder.ok("set", "chat.args.max-model-len", "8192") == (
        "models.yaml:8: chat.args.max-model-len: 4096 → 8192\n"
    )
    assert folder.file.read_text() == GOOD.replace("4096", "8192")
    assert folder.ok("unset", "chat.args.max-model-len") == (
        "models.yaml:8: chat.args.max-model-len: 8192 → not set\n"
    )
    assert folder.file.read_text() == GOOD.replace(
        "    args: {max-model-len: 4096}   # enough\n", ""
    )


def test_what_is_so_already_is_not_written_again(folder: Folder) -> None:
    before = os.stat(folder.file)
    assert folder.ok("set", "chat.args.max_model_len", "4096") == (
        "models.yaml:8: chat.args.max-model-len: 4096 already\n"
    )
    after = os.stat(folder.file)
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def test_several_values_are_changed_together_or_not_at_all(folder: Folder) -> None:
    assert folder.ok("set", "chat.port", "8001", "new.model", "m", "new.gpus", "[0, 1]") == (
        "models.yaml:10: chat.port: not set → 8001\n"
        "models.yaml:12: new.model: not set → m\n"
        "models.yaml:13: new.gpus: not set → [0, 1]\n"
    )
    folder.refused(5, "set", "chat.port", "8002", "new.gpus", "-3")
    folder.refused(1, "unset", "chat.port", "chat.gpus")
    folder.refused(1, "unset", "new", "new")
    folder.ok("unset", "new", "chat.port")
    assert folder.file.read_text() == GOOD


def test_secrets_are_not_shown(folder: Folder) -> None:
    shown = folder.ok("set", "chat.env.HF_TOKEN", "other", "chat.env.A", "hf_zyxwvutsrqponmlkji")
    shown += folder.ok("set", "chat.env", "{HF_TOKEN: third, B: b}")
    assert "chat.env: {HF_TOKEN: (hidden), A: (hidden)} → {HF_TOKEN: (hidden), B: b}" in shown
    for secret in ("other", "hf_", "third"):
        assert secret not in shown


@pytest.mark.parametrize("words", [("-1",), ("--", "-1")])
def test_a_value_may_begin_with_a_dash(folder: Folder, words: tuple[str, ...]) -> None:
    assert folder.ok("set", "chat.args.seed", *words).endswith("not set → -1\n")


def test_help_is_still_help(folder: Folder) -> None:
    for word in ("-h", "--help"):
        assert "PATH VALUE" in folder.run("set", "chat.port", word).out
    assert folder.file.read_text() == GOOD


# -- what is refused -------------------------------------------------------------------------


def test_an_invalid_change_shows_its_errors_and_changes_nothing(folder: Folder) -> None:
    complaint = folder.refused(5, "set", "chat.gpu", "0")
    assert "models.yaml:10:5: models.chat.gpu: is not a key that is known here" in complaint
    assert "nothing was changed; lines are counted with the change" in complaint
    assert "neither model nor command" in folder.refused(5, "unset", "chat.model")
    assert "there is no model 'nobody'" in folder.refused(5, "set", "chat.depends_on", "[nobody]")


def test_a_broken_file_is_shown_as_it_is_and_can_be_mended(folder: Folder) -> None:
    folder.file.write_text("models: [")
    complaint = folder.refused(5, "set", "chat.port", "1")
    assert "models.yaml:1:" in complaint
    assert "counted with the change" not in complaint
    folder.file.write_text(GOOD + "    gpu: 0\n    prt: 8001\n")
    assert "prt" in folder.refused(5, "unset", "chat.gpu")
    folder.ok("unset", "chat.gpu", "chat.prt")
    assert folder.file.read_text() == GOOD


@pytest.mark.parametrize(
    ("code", "words", "complaint"),
    [
        (2, ("set", "chat.port"), "a VALUE is missing after 'chat.port'"),
        (2, ("set", "chat.labels", "a", "b"), "needs quotes"),
        (2, ("set",), "--help"),
        (2, ("unset",), "--help"),
        (2, ("set", "nobody", "{model: m}"), "to add it, set nobody.model"),
        (2, ("set", "chat:2.port", "1"), "replicas share one definition; write chat.port"),
        (2, ("set", "chat.host", "*x"), "the value for chat.host is not YAML by itself"),
        (2, ("set", "chat..port", "1"), "is not a path"),
        (4, ("set", "chatt.port", "1"), "there is no model 'chatt' (did you mean 'chat'?)"),
        (4, ("unset", "chatt"), "there is no model 'chatt' (did you mean 'chat'?)"),
        (4, ("unset", "chatt.model"), "there is no model 'chatt' (did you mean 'chat'?)"),
        (4, ("unset", "models"), "there is no model 'models'"),
        (1, ("unset", "chat.port"), "chat.port is not set"),
        (1, ("unset", "chat.env.HF_HOME"), "it comes from the defaults: defaults.env.HF_HOME"),
        (5, ("set", "new.model", "1"), "models.new.model"),
    ],
)  # fmt: skip
def test_what_cannot_be_done(
    folder: Folder, code: int, words: tuple[str, ...], complaint: str
) -> None:
    assert complaint in folder.refused(code, *words)


def test_no_file_and_what_is_none(folder: Folder) -> None:
    folder.file.unlink()
    assert "no such file" in folder.run("set", "chat.port", "1").err.lower()
    os.mkfifo(folder.file)
    done = folder.run("set", "chat.port", "1")
    assert (done.code, "is not a regular file" in done.err) == (5, True)


# -- the file --------------------------------------------------------------------------------


def test_mode_and_byte_order_mark_are_kept(folder: Folder) -> None:
    folder.file.write_bytes(b"\xef\xbb\xbf" + GOOD.replace("\n", "\r\n").encode())
    folder.file.chmod(0o640)
    folder.ok("set", "chat.args.max-model-len", "8192")
    assert stat.S_IMODE(folder.file.stat().st_mode) == 0o640
    changed = GOOD.replace("4096", "8192").replace("\n", "\r\n").encode()
    assert folder.file.read_bytes() == b"\xef\xbb\xbf" + changed


def acl(*, user: int) -> bytes:
    """Read and write for the owner, read for one more user, nothing for others."""
    nobody = 0xFFFFFFFF
    entries = [(1, 6, nobody), (2, 4, user), (4, 0, nobody), (16, 4, nobody), (32, 0, nobody)]
    return struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *entry) for entry in entries)


def test_attributes_and_access_lists_are_kept_and_none_is_inherited(folder: Folder) -> None:
    given = {"user.origin": b"ansible", "system.posix_acl_access": acl(user=1234)}
    try:
        for name, value in given.items():
            os.setxattr(folder.file, name, value)
        os.setxattr(folder.root, "system.posix_acl_default", acl(user=5678))
    except OSError:
        pytest.skip("this file system has no attributes or access lists")
    folder.ok("set", "chat.port", "8001")
    assert {name: os.getxattr(folder.file, name) for name in given} == given
    os.removexattr(folder.file, "system.posix_acl_access")
    folder.ok("set", "chat.port", "8002")
    assert "system.posix_acl_access" not in os.listxattr(folder.file)


@as_root
def test_the_owner_is_kept(folder: Folder) -> None:
    os.chown(folder.file, NOBODY, NOBODY)
    folder.file.chmod(0o604)
    folder.ok("set", "chat.port", "8001")
    status = folder.file.stat()
    assert (status.st_uid, status.st_gid) == (NOBODY, NOBODY)
    assert stat.S_IMODE(status.st_mode) == 0o604


def test_a_link_stays_one(folder: Folder) -> None:
    (folder.root / "real").mkdir()
    real = folder.root / "real" / "config.yaml"
    folder.file.rename(real)
    folder.file.symlink_to("real/config.yaml")
    folder.ok("set", "chat.args.max-model-len", "8192")
    assert folder.file.is_symlink()
    assert real.read_text() == GOOD.replace("4096", "8192")


def test_the_file_that_defines_the_model_is_changed(folder: Folder) -> None:
    folder.file.write_text(GOOD + "include: [models.d/*.yaml]\n")
    (folder.root / "models.d").mkdir()
    other = folder.root / "models.d" / "embed.yaml"
    other.write_text("models:\n  embed:\n    model: e\n")
    assert folder.ok("set", "embed.port", "8001").startswith("models.d/embed.yaml:4: embed.port")
    assert other.read_text() == "models:\n  embed:\n    model: e\n    port: 8001\n"
    assert folder.file.read_text() == GOOD + "include: [models.d/*.yaml]\n"
    complaint = folder.refused(5, "set", "chat.port", "8001")  # the whole must be valid
    assert "port 8001 is that of chat already" in complaint
    complaint = folder.refused(2, "set", "chat.port", "1", "embed.port", "2")
    assert "change one file at a time" in complaint
    folder.ok("unset", "embed")
    assert other.read_text() == "models: {}\n"


def test_a_variable_of_the_environment_may_fill_in(
    folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PORT", "8001")
    folder.ok("set", "chat.port", "${PORT}")
    assert "    port: ${PORT}\n" in folder.file.read_text()
    assert "the variable NOPE is not set" in folder.refused(5, "set", "chat.host", "${NOPE}")


def with_limit(size: int) -> Callable[[], None]:
    return lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))


def test_a_disk_that_fills_up_costs_nothing(site: Site) -> None:
    site.write(GOOD + "#" * 5000)
    before = site.file.read_bytes()
    done = site.run("set", "chat.port", "8001", preexec_fn=with_limit(4096))
    assert done.returncode == 1
    assert "file too large" in done.stderr
    assert f"{site.file} is as it was" in done.stderr
    assert site.file.read_bytes() == before
    assert os.listdir(site.root) == ["models.yaml"]


@pytest.mark.parametrize("step", ["fsync", "fchmod", "rename"])
def test_whatever_fails_leaves_the_old_file_and_nothing_else(
    folder: Folder, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    def fail(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, step, fail)
    complaint = folder.refused(1, "set", "chat.port", "8001")
    assert "it cannot be replaced: no space left on device; models.yaml is as it was" in complaint


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_an_interruption_leaves_nothing_behind(site: Site, number: int) -> None:
    site.write(GOOD)
    code = (
        "import os, signal, sys; from vllmctl.cli import main; chmod = os.fchmod\n"
        # A shell's background jobs ignore it.
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        f"def interrupted(*words): os.kill(os.getpid(), {number}); chmod(*words)\n"
        "os.fchmod = interrupted; sys.exit(main())"
    )
    words = [sys.executable, "-c", code, "set", "chat.port", "8001"]
    done = subprocess.run(words, env=site.environ, capture_output=True, text=True, check=False)
    assert done.returncode == (-15 if number == signal.SIGTERM else 130)
    assert "port: 8001" in site.file.read_text()  # all of it, for it came too late
    assert os.listdir(site.root) == ["models.yaml"]


@as_root
def test_a_file_of_somebody_else_is_not_taken_over(site: Site) -> None:
    site.write(GOOD)
    site.file.chmod(0o666)
    site.root.chmod(0o777)
    done = site.run_as_nobody("set", "chat.port", "8001")
    assert done.returncode == 1
    assert "belongs to user 0" in done.stderr
    assert "as root" in done.stderr
    site.file.chmod(0o644)
    assert "is not writable for you" in site.run_as_nobody("set", "chat.port", "8001").stderr
    site.file.chmod(0o666)
    site.root.chmod(0o755)
    done = site.run_as_nobody("set", "chat.port", "8001")
    assert f"{site.root} cannot be written to: permission denied" in done.stderr
    assert site.file.read_text() == GOOD
    assert os.listdir(site.root) == ["models.yaml"]


@as_root
def test_a_file_that_is_a_mount_says_so(site: Site) -> None:
    site.write(GOOD)
    elsewhere = site.root / "elsewhere.yaml"
    elsewhere.write_text(GOOD)
    if subprocess.run(["mount", "--bind", elsewhere, site.file], check=False).returncode:
        pytest.skip("no right to mount here")
    try:
        done = site.run("set", "chat.port", "8001")
    finally:
        subprocess.run(["umount", "-l", site.file], check=True)
    assert done.returncode == 1
    assert "it is mounted by itself" in done.stderr
    assert sorted(os.listdir(site.root)) == ["elsewhere.yaml", "models.yaml"]


# -- others at the same time -----------------------------------------------------------------


def test_of_many_sets_at_once_none_is_lost(site: Site) -> None:
    site.write(GOOD)
    every = [site.spawn("set", f"chat.args.flag-{n}", str(n)) for n in range(6)]
    for process in every:
        out, _ = process.communicate(timeout=60)
        assert process.returncode == 0, out
    text = site.file.read_text()
    assert [n for n in range(6) if f"flag-{n}: {n}" in text] == list(range(6))
    assert os.listdir(site.root) == ["models.yaml"]


def test_a_lock_that_is_never_let_go_is_waited_for_only_so_long(
    folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replace, "PATIENCE", 0.05)
    with folder.file.open() as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        complaint = folder.refused(1, "set", "chat.port", "8001")
    assert "is being changed by another program; try again" in complaint


def test_an_editor_that_saves_meanwhile_is_not_overwritten(
    folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    sync, saves = (
        os.fsync,
        [GOOD.replace("# enough", "# saved"), GOOD.replace("# enough", "# twice")],
    )

    def saved_just_then(fd: int) -> None:
        sync(fd)
        if saves and stat.S_ISREG(os.fstat(fd).st_mode):
            folder.file.write_text(saves.pop(0))

    monkeypatch.setattr(os, "fsync", saved_just_then)
    folder.ok("set", "chat.args.max-model-len", "8192")
    assert folder.file.read_text() == GOOD.replace("# enough", "# twice").replace("4096", "8192")


def test_a_running_daemon_takes_the_change_and_replaces_that_model_alone(site: Site) -> None:
    chat, embed = quick(), quick()
    site.write(f"# ours\nmodels:\n  chat: {json.dumps(chat)}\n  embed: {json.dumps(embed)}\n")
    site.start()
    before = {name: site.model(name) for name in ("chat", "embed")}
    assert "chat.args.max-model-len" in site.ok("set", "chat.args.max-model-len", "256")
    wait_for(
        lambda: (
            (m := site.model("chat"))["pid"] not in (None, before["chat"]["pid"])
            and m["state"] == "RUNNING"
        ),
        "chat to be replaced",
    )
    site.ok("set", "embed.labels", "[small]")
    wait_for(lambda: site.model("embed")["labels"] == ["small"], "the label to be there")
    assert site.model("embed")["pids"] == before["embed"]["pids"]
    assert site.file.read_text().startswith("# ours\n")
    site.ok("unset", "chat")
    wait_for(lambda: site.find("chat") is None, "chat to be gone")
