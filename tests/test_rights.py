"""Nobody else has a say: what is planted in the state directory, whose rights a model gets, who may
ask, and what they are told."""

from __future__ import annotations

import json
import os
import pwd
import shutil
import signal
import socket
import stat
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from workplace import NOBODY, Site, quick, share_of, wait_for

from vllmctl.control.client import Client
from vllmctl.ownfiles import NotOurs, create_own, open_own, own_folders
from vllmctl.statedir import StateDir

ROOT_ONLY = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
SECRET = "what must not be touched\n"


# -- opening ---------------------------------------------------------------------------------


def plant(path: Path, kind: str, victim: Path) -> None:
    """Put something else in a file's place."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    match kind:
        case "link":
            path.symlink_to(victim)
        case "dangling":
            path.symlink_to(victim.with_name("made"))
        case "fifo":
            os.mkfifo(path)
        case "directory":
            path.mkdir()
            (path / "inside").write_text(SECRET)
        case "socket":
            with socket.socket(socket.AF_UNIX) as listener:
                listener.bind(str(path))
        case "foreign":
            path.write_text("{}")
            os.chown(path, NOBODY, NOBODY)
            path.chmod(0o666)


KINDS = [
    "link", "dangling", "fifo", "directory", "socket", pytest.param("foreign", marks=ROOT_ONLY),
]  # fmt: skip


@pytest.mark.parametrize("flags", [os.O_RDONLY, os.O_WRONLY | os.O_APPEND | os.O_CREAT, os.O_RDWR])
@pytest.mark.parametrize("kind", KINDS)
def test_nothing_but_an_own_file_is_opened(site: Site, kind: str, flags: int) -> None:
    victim = site.root / "victim"
    victim.write_text(SECRET)
    plant(site.root / "file", kind, victim)
    with pytest.raises(NotOurs):
        open_own(str(site.root / "file"), flags)
    assert not (site.root / "made").exists()


def test_a_fifo_that_somebody_reads_is_no_file_either(site: Site) -> None:
    os.mkfifo(site.root / "file")
    reader = os.open(site.root / "file", os.O_RDONLY | os.O_NONBLOCK)
    with pytest.raises(NotOurs):
        open_own(str(site.root / "file"), os.O_WRONLY)
    os.close(reader)


@pytest.mark.parametrize("kind", KINDS)
def test_a_new_file_takes_the_place_of_whatever_was_there(site: Site, kind: str) -> None:
    victim, path = site.root / "victim", site.root / "file"
    victim.write_text(SECRET)
    plant(path, kind, victim)
    with open(create_own(str(path)), "w") as file:
        file.write("ours")
    status = path.lstat()
    assert stat.S_ISREG(status.st_mode)
    assert (stat.S_IMODE(status.st_mode), status.st_uid) == (0o600, os.geteuid())
    assert victim.read_text() == SECRET
    assert not (site.root / "made").exists()


def test_a_link_is_no_folder(site: Site) -> None:
    (site.root / "elsewhere").mkdir()
    (site.root / "all").mkdir()
    (site.root / "all" / "real").mkdir()
    (site.root / "all" / "link").symlink_to(site.root / "elsewhere")
    (site.root / "all" / "file").touch()
    assert own_folders(str(site.root / "all")) == ["real"]


@ROOT_ONLY
def test_somebody_elses_folder_is_none_of_ours(site: Site) -> None:
    (site.root / "run").mkdir()
    os.chown(site.root / "run", NOBODY, NOBODY)
    assert "run" not in own_folders(str(site.root))


# -- the daemon beside what is planted -------------------------------------------------------

FILES = [
    "lock", "daemon.json", "daemon.json.tmp", "intent.json", "intent.json.tmp", "config.json",
    "config.json.tmp", "events.jsonl", "events.jsonl.1", "daemon.log", "daemon.log.1",
    "vllmctl.sock", "instances/chat.json", "instances/chat.json.tmp", "instances/chat.lock",
    "logs/chat.log", "logs/chat.log.1", "runs/0123456789abcdef0123456789abcdef",
]  # fmt: skip
STOPS_THE_DAEMON = {"lock", "daemon.log", "vllmctl.sock"}
STOPS_THE_MODEL = {"instances/chat.lock", "logs/chat.log"}


PLANTED = [
    pytest.param(name, kind, marks=ROOT_ONLY if kind == "foreign" else ())
    for name, kind in share_of(FILES, ["link", "fifo", "directory", "foreign"])
]


@pytest.mark.parametrize(("name", "kind"), PLANTED)
def test_what_is_planted_is_not_followed_and_holds_nobody_up(
    site: Site, name: str, kind: str
) -> None:
    """Either everything works, or it ends in a sentence that names the file."""
    victim = site.root / "victim"
    victim.write_text(SECRET)
    victim.chmod(0o644)
    plant(Path(site.state.root, name), kind, victim)
    os.chmod(site.state.root, 0o700)
    site.simulate(chat={"restart": "never"})
    done = site.run("start", "--timeout", "20s")
    assert "Traceback" not in done.stdout + done.stderr
    assert "internal error" not in done.stderr + ("" if name == "daemon.log" else site.daemon_log())
    if done.returncode == 0:
        assert site.model("chat")["state"] == "RUNNING"
        assert site.run("tail", "chat").returncode == 0
        site.ok("shutdown")
    elif name in STOPS_THE_DAEMON:
        assert done.returncode in (1, 2)
        assert name in done.stderr
    else:
        assert name in STOPS_THE_MODEL
        assert site.model("chat")["state"] in ("FATAL", "EXITED")
    assert victim.read_text() == SECRET
    assert stat.S_IMODE(victim.stat().st_mode) == 0o644
    if name.startswith("runs/") and kind != "directory":
        Path(site.state.root, name).unlink()  # the cleaning-up looks at runs


@pytest.mark.parametrize("folder", ["instances", "runs", "logs"])
def test_a_linked_folder_is_refused(site: Site, folder: str) -> None:
    elsewhere = site.root / "elsewhere"
    elsewhere.mkdir()
    Path(site.state.root).mkdir(mode=0o700)
    Path(site.state.root, folder).symlink_to(elsewhere)
    site.simulate(chat={})
    done = site.run("start")
    assert done.returncode == 2
    assert f"{folder} is not a directory" in done.stderr
    assert list(elsewhere.iterdir()) == []


@ROOT_ONLY
@pytest.mark.parametrize("folder", ["instances", "runs", "logs"])
def test_somebody_elses_folder_is_refused(site: Site, folder: str) -> None:
    site.state.prepare()
    os.chown(Path(site.state.root, folder), NOBODY, NOBODY)
    site.simulate(chat={})
    done = site.run("start")
    assert done.returncode == 2
    assert f"{folder} belongs to user {NOBODY}" in done.stderr


@ROOT_ONLY
def test_a_planted_record_runs_nothing(site: Site) -> None:
    """A directory that was open once: others may have left records in it, with commands."""
    evil = {"command": ["/bin/touch", str(site.root / "evil")], "port": None}
    site.write(
        json.dumps(
            {"models": {"evil": {"command": evil["command"], "port": "none", "health": "off"}}}
        )
    )
    site.start("--no-wait")
    wait_for((site.root / "evil").exists, "the command to be run")
    site.run("stop")
    site.ok("shutdown")
    (site.root / "evil").unlink()
    for name in ("config.json", "intent.json", "instances/evil.json"):
        if Path(site.state.root, name).exists():
            os.chown(Path(site.state.root, name), NOBODY, NOBODY)
    Path(site.state.intent).unlink(missing_ok=True)
    site.write("models: {broken")
    done = site.run("start")
    assert done.returncode == 5  # no good reading is recalled
    assert not (site.root / "evil").exists()


@ROOT_ONLY
def test_the_directory_is_closed_to_others_and_so_is_everything_in_it(site: Site) -> None:
    site.simulate(chat={})
    site.start()
    site.ok("events")
    for folder, folders, files in os.walk(site.state.root):
        for name in [*folders, *files]:
            status = os.lstat(os.path.join(folder, name))
            assert not status.st_mode & 0o077, name
            assert status.st_uid == os.geteuid(), name
    for words in (["status"], ["tail", "chat"], ["events"], ["start"]):
        refused = site.run_as_nobody(*words)
        assert refused.returncode != 0
        assert "Traceback" not in refused.stderr


@ROOT_ONLY
def test_a_stranger_with_a_connection_is_refused_by_the_kernels_word(site: Site) -> None:
    """Also where the socket's mode would let him: somebody has passed it on."""
    site.simulate(chat={})
    site.start()
    site.root.chmod(0o755)
    Path(site.state.root).chmod(0o755)
    Path(site.state.socket).chmod(0o666)
    refused = site.run_as_nobody("status")
    assert refused.returncode == 1
    assert f"user {NOBODY}" in refused.stderr


# -- what is told ----------------------------------------------------------------------------


def test_no_value_of_an_environment_is_told_but_what_stands_in_the_file(site: Site) -> None:
    """A name need not tell of a secret; what is kept out of models.yaml is kept out of answers."""
    (site.root / "chat.env").write_text("PLAIN=kept-elsewhere\nHF_TOKEN=token-elsewhere\n")
    site.environ |= {"INHERITED": "only-inherited", "WHERE": "postgres://me:open-sesame@db/x"}
    site.simulate(
        chat={
            "env_file": ["chat.env"],
            "env": {"SHOWN": "in-the-file", "API_KEY": "named-so", "DATABASE": "${WHERE}"},
        }
    )
    site.start()
    os.kill(site.model("chat")["pid"], signal.SIGKILL)
    wait_for(lambda: site.model("chat")["last_exit"], "its end")
    client = Client(site.state.socket)
    told = [site.ok("show", "chat"), site.ok("show", "chat", "--json"), site.ok("events", "--json")]
    for path in ("status", "models/chat", "models/chat/definition", "plan", "diff"):
        reply = client.get(f"/v1/{path}")
        assert reply.ok
        told.append(json.dumps(reply.body))
    (site.root / "chat.env").write_text("PLAIN=kept-elsewhere-2\nHF_TOKEN=token-elsewhere-2\n")
    told.append(json.dumps(client.get("/v1/diff").body))
    site.write("models: {chat: {env: {PLAIN: {a: b}}, env_file: chat.env, engine: ${WHERE}}}")
    told += [site.run("reload").stderr, site.run("validate", "--json").stdout, site.ok("events")]
    everything = "\n".join([*told, site.daemon_log()])
    for value in ("elsewhere", "only-inherited", "named-so", "open-sesame"):
        assert value not in everything, value
    assert "in-the-file" in everything
    assert "PLAIN" in everything  # that it is there, and where it was written, is told


# -- names -----------------------------------------------------------------------------------

NAMES = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", fullmatch=True) | st.sampled_from(
    ["a", "a.log", "a.log.1", "a.json", "a.lock", "a.json.tmp", "a.json.damaged", "a.1", "A"]
)
INSTANCES = st.builds(lambda name, n: name if n < 2 else f"{name}:{n}", NAMES, st.integers(1, 20))


def files_of(name: str) -> set[str]:
    """Every path that is made from an instance's name."""
    state = StateDir("/s")
    record, log = state.instance_record(name), state.log(name)
    rotated = {f"{log}.{number}" for number in range(1, 30)}
    return {
        record, f"{record}.tmp", f"{record}.damaged", state.instance_lock(name), log, *rotated,
    }  # fmt: skip


@given(INSTANCES, INSTANCES)
def test_no_two_instances_share_a_file(one: str, other: str) -> None:
    assert one == other or not files_of(one) & files_of(other)


@given(INSTANCES)
def test_a_name_is_one_part_of_a_path_and_no_longer_than_that_may_be(name: str) -> None:
    for path in files_of(name):
        assert os.path.normpath(path) == path
        assert path.count("/") == 3
        assert len(os.path.basename(path)) <= 255


NO_NAMES = [
    "..", ".", "", "a/b", "/etc/passwd", "a\n", "a\0b", "a b", "ｃhat", "сhat", "a:2", "-a", ".a",
    "a" * 65, "a\u200b", "é",
]  # fmt: skip


def test_what_is_no_name_is_an_error(site: Site) -> None:
    """All in one file, a line each: a line that is not complained of would be a name."""
    lines = set(range(2, len(NO_NAMES) + 2))
    site.write_lines([(name, quick()) for name in NO_NAMES])
    assert site.wrong_lines() == lines
    site.write_lines([(f"m{n}", quick(labels=[name])) for n, name in enumerate(NO_NAMES)])
    assert site.wrong_lines() == lines


def test_names_that_differ_by_case_are_two(site: Site) -> None:
    site.simulate(chat={}, Chat={}, **{"chat.log": {}, "chat.json": {}})
    site.start()
    pids = {site.model(name)["pid"] for name in ("chat", "Chat", "chat.log", "chat.json")}
    assert len(pids) == 4
    for name in ("chat", "Chat", "chat.log", "chat.json"):
        assert site.log(name).count("Started server process") == 1


def test_no_name_in_a_request_becomes_a_path(site: Site) -> None:
    site.simulate(chat={})
    site.start()
    client = Client(site.state.socket)
    for name in ("..%2f..%2fetc%2fpasswd", "%2e%2e", "..", "x%00y", "%0a"):
        model = f"/v1/models/{name}"
        for path in (model, f"{model}/definition", f"{model}/log"):
            assert client.get(path).status in (400, 404), path
        assert client.post(f"{model}/stop").status in (400, 404), model
    assert site.run("tail", "../../../etc/passwd").returncode == 4


# -- user: -----------------------------------------------------------------------------------

LOOK = """
import json, os, sys
def regained():
    for call, who in ((os.setuid, 0), (os.seteuid, 0), (os.setgid, 0), (os.setgroups, [0])):
        try: call(who)
        except PermissionError: continue
        return True
    return False
status = dict(l.split(":", 1) for l in open("/proc/self/status"))
opened = []
for name in ("/dev/stdout", "/dev/stderr"):
    try: os.close(os.open(name, os.O_WRONLY)); opened.append(name)
    except OSError as error: opened.append(error.strerror)
seen = {
    "ids": [*os.getresuid(), *os.getresgid()], "groups": sorted(os.getgroups()),
    "caps": [status[k].strip() for k in ("CapInh", "CapPrm", "CapEff", "CapAmb")],
    "environ": dict(os.environ), "umask": os.umask(0), "cwd": os.getcwd(), "regained": regained(),
    "opened": opened, "fds": sorted(os.listdir("/proc/self/fd")),
    "nonewprivs": status["NoNewPrivs"].strip(),
}
print("SEEN " + json.dumps(seen), flush=True)
import time; time.sleep(600)
"""


def seen_by(site: Site, before: Sequence[str] = (), **keys: Any) -> dict[str, Any]:
    """What a command finds that is run with these keys."""
    if not os.path.exists("/usr/bin/python3"):
        pytest.skip("this machine has no Python that everybody may run")
    command = ["/usr/bin/python3", "-c", LOOK]
    model = {"command": command, "port": "none", "health": "off", "workdir": "/"} | keys
    site.write(json.dumps({"models": {"one": model}}))
    site.spawn("daemon", before=before)
    wait_for(lambda: "SEEN " in site.log("one"), "it to have looked")
    line = next(line for line in site.log("one").splitlines() if line.startswith("SEEN "))
    found: dict[str, Any] = json.loads(line.removeprefix("SEEN "))
    return found


UID, GID, GROUP = 54321, 54322, 54323
SOMEBODY = f"somebody:x:{UID}:{GID}::/home/nowhere:/bin/sh\n"
GROUPS = f"somebody:x:{GID}:\nmore:x:{GROUP}:somebody\n"


def knowing_somebody(site: Site) -> list[str]:
    """Before a command: it finds users of its own, and the machine's stay as they are."""
    words = []
    for name, more in (("passwd", SOMEBODY), ("group", GROUPS)):
        file = site.root / name
        file.write_text(Path("/etc", name).read_text() + more)
        file.chmod(0o644)
        words.append(f"mount --bind {file} /etc/{name} && ")
    before = ["unshare", "--mount", "sh", "-c", "".join(words) + 'exec "$@"', "sh"]
    try:
        subprocess.run([*before, "true"], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("no mount namespace can be made here")
    return before


def test_a_model_with_a_user_has_his_rights_and_no_way_back(site: Site) -> None:
    site.environ |= {
        "XDG_RUNTIME_DIR": "/run/user/0", "XDG_CONFIG_HOME": "/root/.config", "MAIL": "/var/mail/r",
        "DBUS_SESSION_BUS_ADDRESS": "unix:path=/run/user/0/bus", "SSH_AUTH_SOCK": "/tmp/agent",
        "SUDO_USER": "admin", "TMPDIR": "/root/tmp", "PWD": "/root", "HF_HOME": "/data/hf",
    }  # fmt: skip
    cache = {"XDG_CACHE_HOME": "/data/cache"}
    seen = seen_by(site, knowing_somebody(site), user="somebody", env=cache)
    assert seen["ids"] == [UID] * 3 + [GID] * 3
    assert seen["groups"] == [GID, GROUP]
    assert seen["caps"] == ["0000000000000000"] * 4
    assert not seen["regained"]
    assert seen["nonewprivs"] == "0"
    assert seen["umask"] == 0o022
    assert seen["opened"] == ["/dev/stdout", "/dev/stderr"]
    assert len(seen["fds"]) == 4  # 0, 1, 2 and the listing's own
    environ = seen["environ"]
    assert (environ["HOME"], environ["SHELL"]) == ("/home/nowhere", "/bin/sh")
    assert environ["USER"] == environ["LOGNAME"] == "somebody"
    leaked = ("XDG_RUNTIME_DIR", "XDG_CONFIG_HOME", "MAIL", "DBUS_SESSION_BUS_ADDRESS",
              "SSH_AUTH_SOCK", "SUDO_USER", "TMPDIR", "PWD")  # fmt: skip
    assert not set(leaked) & set(environ)
    assert environ["HF_HOME"] == "/data/hf"  # what was meant for the models stays
    assert environ["XDG_CACHE_HOME"] == "/data/cache"  # and so does what the file says
    log = os.stat(site.state.log("one"))
    assert (log.st_uid, stat.S_IMODE(log.st_mode)) == (0, 0o600)
    for path in (site.state.root, site.state.log("one"), site.state.socket):
        look = ["setpriv", f"--reuid={UID}", f"--regid={GID}", "--clear-groups", "/bin/ls", path]
        assert subprocess.run(look, capture_output=True, check=False).returncode != 0


def test_without_a_user_the_environment_is_the_daemons(site: Site) -> None:
    site.environ |= {"XDG_RUNTIME_DIR": "/run/user/0"}
    seen = seen_by(site)
    assert seen["ids"] == [os.geteuid()] * 3 + [os.getegid()] * 3
    assert seen["environ"]["XDG_RUNTIME_DIR"] == "/run/user/0"


def test_a_user_who_is_oneself_needs_no_root(site: Site) -> None:
    name = pwd.getpwuid(os.geteuid()).pw_name
    site.simulate(chat={"user": name})
    site.start()
    assert site.model("chat")["state"] == "RUNNING"


@ROOT_ONLY
def test_a_workdir_that_the_user_may_not_enter(site: Site) -> None:
    site.root.chmod(0o700)
    command = ["/bin/sleep", "600"]
    model = {"command": command, "port": "none", "health": "off", "user": "nobody"}
    site.write(json.dumps({"models": {"one": model}}))
    done = site.run("start")
    assert done.returncode == 1
    sentence = site.model("one")["sentence"]
    assert site.model("one")["state"] == "FATAL"
    assert "workdir could not be entered" in sentence
    assert "`user:` may enter it" in sentence


@ROOT_ONLY
def test_a_daemon_without_the_right_to_give_rights_says_so(site: Site) -> None:
    """As every daemon that is not root's; here it is root's, without two capabilities."""
    if not shutil.which("setpriv"):
        pytest.skip("there is no setpriv")
    model = {"command": ["/bin/sleep", "600"], "port": "none", "health": "off", "workdir": "/"}
    site.write(json.dumps({"models": {"one": model | {"user": "nobody"}}}))
    site.spawn("daemon", before=["setpriv", "--bounding-set=-setuid,-setgid"])
    wait_for(lambda: os.path.exists(site.state.socket), "the socket")
    sentence = site.wait_state("one", "FATAL")["sentence"]
    assert "its user's rights could not be taken: Operation not permitted" in sentence
    assert "run it as root, or remove `user:`" in sentence
