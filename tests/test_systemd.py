"""The shipped units: what they say, and the system's one under a systemd of its own.

That systemd is process 1 of namespaces that a test makes: it has its own mounts, units, cgroup and
processes, and of the machine's own it changes nothing.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from workplace import Site, get, wait_for

from vllmctl.backend import cgroup
from vllmctl.control.client import Client, NoDaemon

ROOT = Path(__file__).resolve().parents[1]
SYSTEM = ROOT / "systemd" / "system" / "vllmctl.service"
USER = ROOT / "systemd" / "user" / "vllmctl.service"
SYSTEMD = next(
    (p for p in ("/usr/lib/systemd/systemd", "/lib/systemd/systemd") if os.path.exists(p)), ""
)
VLLMCTL = Path(sys.executable).with_name("vllmctl")


BREAKING = {
    "PrivateDevices", "DevicePolicy", "DeviceAllow", "ProtectClock", "MemoryDenyWriteExecute",
    "PrivateTmp", "PrivateIPC", "RemoveIPC", "ProtectProc", "ProcSubset", "ProtectKernelModules",
    "ProtectControlGroups", "ProtectHome", "NoNewPrivileges", "PrivateUsers", "PrivateNetwork",
    "PrivatePIDs", "DynamicUser", "SystemCallFilter", "SystemCallArchitectures",
    "RestrictAddressFamilies", "RestrictNamespaces", "RestrictRealtime", "RestrictSUIDSGID",
    "LockPersonality", "ProtectKernelTunables", "ProtectKernelLogs", "ProtectHostname",
    "OOMScoreAdjust", "MemoryMax", "TimeoutAbortSec",
}  # fmt: skip
"""What a model or a promise would suffer from."""


def parse(unit: Path) -> dict[str, dict[str, list[str]]]:
    """What a unit says, by section and name; systemd.syntax(7)."""
    found: dict[str, dict[str, list[str]]] = {}
    section: dict[str, list[str]] = {}
    for line in unit.read_text(encoding="utf-8").splitlines():
        if match := re.fullmatch(r"\[(\w+)\]", line):
            section = found.setdefault(match[1], {})
        elif line and not line.startswith("#"):
            key, equals, value = line.partition("=")
            assert equals, line
            section.setdefault(key, []).append(value)
    return found


# -- what they say ---------------------------------------------------------------------------


@pytest.mark.parametrize("unit", [SYSTEM, USER], ids=["system", "user"])
def test_a_unit_keeps_the_promises(unit: Path) -> None:
    service = parse(unit)["Service"]
    assert service["Type"] == ["notify"]
    assert service["KillMode"] == ["process"]  # a daemon's death is not the models'
    assert service["OOMPolicy"] == ["continue"]  # nor is one model's the others'
    assert service["Restart"] == ["on-failure"]
    assert service["Delegate"] == ["yes"]
    assert int(service["WatchdogSec"][0]) > 0
    assert service["RestartPreventExitStatus"] == ["2 5"]  # usage, invalid configuration
    assert parse(unit)["Unit"]["StartLimitIntervalSec"] == ["0"]
    assert service["ExecStart"][0].endswith(" daemon")
    assert service["ExecReload"][0].endswith(" reload")
    assert parse(unit)["Install"]["WantedBy"] == [
        "multi-user.target" if unit == SYSTEM else "default.target"
    ]


@pytest.mark.parametrize("unit", [SYSTEM, USER], ids=["system", "user"])
def test_a_unit_has_nothing_that_breaks_a_model(unit: Path) -> None:
    service = parse(unit)["Service"]
    assert not BREAKING & set(service)


def test_the_reasons_name_what_was_left_out() -> None:
    text = SYSTEM.read_text(encoding="utf-8")
    page = next((ROOT / "docs" / "decisions").glob("*systemd*.md"))
    assert page.name[:4] in text  # the unit names the decision
    reasons = page.read_text(encoding="utf-8")
    left_out = re.findall(r"^#   (\S.*)", text, re.MULTILINE)
    names = [name for line in left_out for name in re.findall(r"\b[A-Z][a-z]\w+[A-Z]\w+", line)]
    assert len(names) > 10
    for name in names:
        assert f"`{name}`" in reasons, name


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd is not here")
@pytest.mark.parametrize("unit", [SYSTEM, USER], ids=["system", "user"])
def test_systemd_understands_every_word_of_a_unit(unit: Path, tmp_path: Path) -> None:
    # The command is wherever it was installed; its manual may not be.
    text = re.sub(r"(?m)^(Exec\w+=)\S*vllmctl", r"\g<1>/bin/true", unit.read_text())
    copy = tmp_path / "vllmctl.service"
    copy.write_text(text)
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", "--recursive-errors=no", str(copy)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")


# -- what systemd makes of it ----------------------------------------------------------------

BOOT = """\
set -e
for place in /run /var/lib /var/cache; do mount -t tmpfs tmpfs $place; done
mkdir /run/lock
mount --bind "$ROOT/etc" /etc
mount --bind "$ROOT/bin" /usr/local/bin
umount -lR /sys/fs/cgroup  # with a hybrid hierarchy's others
mount -t cgroup2 none /sys/fs/cgroup
exec env -i container=vctl PATH=/usr/bin:/bin SYSTEMD_UNIT_PATH="$ROOT/units" \\
    "$SYSTEMD" --system --unit=basic.target --log-target=console --show-status=no
"""
SYS_RESOURCE = 24  # capabilities(7)
TARGETS = ("basic", "sysinit", "shutdown", "umount", "network-online", "multi-user")


def _can_boot() -> bool:
    if not SYSTEMD or os.geteuid() != 0 or cgroup._mount_point() is None or not VLLMCTL.exists():
        return False
    test = ["unshare", "--pid", "--fork", "--mount", "--cgroup", "--uts", "--ipc", "--mount-proc"]
    try:
        return subprocess.run([*test, "true"], capture_output=True, check=False).returncode == 0
    except OSError:
        return False


class Machine:
    """A systemd in namespaces, with the shipped unit and a models.yaml."""

    def __init__(self, site: Site) -> None:
        self.site = site
        self.root = site.root
        mount = cgroup._mount_point()
        assert mount is not None
        self.group = Path(tempfile.mkdtemp(prefix="vctl-", dir=mount))
        shutil.copytree("/etc", self.root / "etc", symlinks=True, ignore=_unreadable)
        for folder in ("bin", "units", "etc/vllmctl"):
            (self.root / folder).mkdir(exist_ok=True)
        (self.root / "bin" / "vllmctl").symlink_to(VLLMCTL)
        for name in TARGETS:
            (self.root / "units" / f"{name}.target").write_text("[Unit]\nDefaultDependencies=no\n")
        shutil.copy(SYSTEM, self.root / "units")
        site.file = self.root / "etc" / "vllmctl" / "models.yaml"
        self.change(
            f"StandardOutput=append:{self.root}/said", f"StandardError=append:{self.root}/said"
        )

    def change(self, *lines: str) -> None:
        """As `systemctl edit` does."""
        folder = self.root / "units" / "vllmctl.service.d"
        folder.mkdir(exist_ok=True)
        number = len(list(folder.iterdir()))
        text = "\n".join(["[Service]", *lines, ""])
        (folder / f"{number}.conf").write_text(text)

    def boot(self) -> None:
        words = ["unshare", "--pid", "--fork", "--kill-child", "--mount", "--uts", "--ipc"]
        words += ["--cgroup", "--mount-proc", "sh", "-c", BOOT]
        join = f'echo $$ >"{self.group}/cgroup.procs" && exec "$@"'
        self._log = open(self.root / "systemd.log", "w")  # noqa: SIM115 - for as long as it runs
        self.outer = subprocess.Popen(
            ["sh", "-c", join, "sh", *words],
            env=os.environ | {"ROOT": str(self.root), "SYSTEMD": SYSTEMD},
            stdin=subprocess.DEVNULL, stdout=self._log, stderr=self._log,
        )  # fmt: skip
        children = Path(f"/proc/{self.outer.pid}/task/{self.outer.pid}/children")
        self.pid = wait_for(lambda: int(children.read_text() or 0), "process 1")
        wait_for(lambda: self.ctl("is-active", "basic.target").returncode == 0, "it to be up")

    def inside(self, *words: str) -> subprocess.CompletedProcess[str]:
        enter = ["nsenter", "-t", str(self.pid), "-m", "-p", "-C", "--", *words]
        return subprocess.run(enter, capture_output=True, text=True, timeout=120, check=False)

    def ctl(self, *words: str) -> subprocess.CompletedProcess[str]:
        return self.inside("systemctl", *words)

    def ok(self, *words: str) -> str:
        done = self.ctl(*words)
        said = self.root / "said"
        more = said.read_text() if said.exists() else ""
        assert done.returncode == 0, f"{words}: {done.stderr}{more}{self.log()}"
        return done.stdout.strip()

    def log(self) -> str:
        return (self.root / "systemd.log").read_text()

    def property(self, name: str) -> str:
        return self.ok("show", "vllmctl", "--value", "--property", name)

    def model(self, name: str, state: str) -> dict[str, Any]:
        """Its document once it is in that state. Process ids are the namespace's."""
        client = Client(f"/proc/{self.pid}/root/var/lib/vllmctl/vllmctl.sock")

        def look() -> dict[str, Any] | None:
            try:
                models = client.get(f"/v1/models/{name}").body["models"]
            except NoDaemon:
                return None
            return models[0] if models[0]["state"] == state else None

        return wait_for(look, f"{name} to be {state}")

    def file(self, path: str) -> str:
        return self.inside("cat", path).stdout

    def halt(self) -> None:
        self.outer.kill()
        self.outer.wait()
        self._log.close()
        (self.group / "cgroup.kill").write_text("1")
        wait_for(lambda: "populated 0" in (self.group / "cgroup.events").read_text(), "its end")
        for folder, _, _ in os.walk(self.group, topdown=False):
            os.rmdir(folder)


def _unreadable(folder: str, names: list[str]) -> list[str]:
    """What cannot be copied: sockets and the like."""
    paths = [Path(folder, name) for name in names]
    return [p.name for p in paths if not (p.is_symlink() or p.is_dir() or p.is_file())]


@pytest.fixture
def machine(site: Site) -> Iterator[Machine]:
    if not _can_boot():
        pytest.skip("no systemd can be started in namespaces here")
    machine = Machine(site)
    machine.boot()
    try:
        yield machine
    finally:
        machine.halt()


def test_the_models_outlive_every_death_of_the_daemon(machine: Machine) -> None:
    machine.change("WatchdogSec=2", "TimeoutAbortSec=1")
    machine.ok("daemon-reload")
    machine.site.simulate(chat={}, embed={})
    machine.ok("start", "vllmctl")
    before = {name: machine.model(name, "RUNNING") for name in ("chat", "embed")}
    wait_for(lambda: machine.property("StatusText") == "2 running", "the line of its status")
    for deaths, number in enumerate((signal.SIGKILL, signal.SIGSTOP), 1):  # a crash; a stall
        daemon = machine.property("MainPID")
        machine.inside("kill", f"-{number.name[3:]}", daemon)
        wait_for(lambda: machine.property("NRestarts") == str(deaths), "a new daemon")  # noqa: B023
        for name, model in before.items():
            assert machine.model(name, "RUNNING")["pids"] == model["pids"]
    machine.inside("vllmctl", "shutdown", "--keep-models")
    wait_for(lambda: machine.property("ActiveState") == "inactive", "the daemon to be gone")
    machine.ok("start", "vllmctl")
    for name, model in before.items():
        again = machine.model(name, "RUNNING")
        assert again["pids"] == model["pids"]
        assert get(f"{again['url']}/health")[0] == 200
    machine.ok("stop", "vllmctl")
    assert machine.property("Result") == "success"
    assert get(f"{before['chat']['url']}/health")[0] == 0
    assert "vllmctl.service" not in machine.file("/sys/fs/cgroup/system.slice/cgroup.procs")


def test_a_reload_waits_and_fails_with_a_broken_file(machine: Machine) -> None:
    machine.site.simulate(chat={})
    machine.ok("start", "vllmctl")
    before = machine.model("chat", "RUNNING")
    port = before["port"]
    machine.site.simulate(chat={"port": port}, embed={})
    machine.ok("reload", "vllmctl")
    machine.model("embed", "RUNNING")
    machine.site.write("models: {chat: {nonsense: 1}}")
    assert machine.ctl("reload", "vllmctl").returncode != 0
    assert "nonsense" in (machine.root / "said").read_text()
    assert machine.property("ActiveState") == "active"
    assert "not valid" in machine.property("StatusText")
    assert machine.model("chat", "RUNNING")["pids"] == before["pids"]
    machine.ok("kill", "--kill-who=main", "--signal=HUP", "vllmctl")
    wait_for(lambda: machine.property("ActiveState") == "active", "the reload to be over")


def test_a_grace_may_be_longer_than_the_units_time_to_stop(machine: Machine) -> None:
    machine.change("TimeoutStopSec=2")
    machine.ok("daemon-reload")
    machine.site.simulate(chat={"args": {"simulate-hang-loading": True}, "stop": {"grace": "6s"}})
    machine.ok("start", "vllmctl")
    log = machine.inside
    wait_for(
        lambda: "Starting to load model" in log("cat", "/var/lib/vllmctl/logs/chat.log").stdout,
        "it to be loading",
    )
    begin = time.monotonic()
    machine.ok("stop", "vllmctl")
    assert time.monotonic() - begin > 5
    assert machine.property("Result") == "success"


def test_an_invalid_file_fails_the_start_and_is_not_tried_again(machine: Machine) -> None:
    machine.site.write("models: {chat: {nonsense: 1}}")
    assert machine.ctl("start", "vllmctl").returncode != 0
    assert "nonsense" in (machine.root / "said").read_text()
    assert machine.property("ActiveState") == "failed"
    assert machine.property("ExecMainStatus") == "5"
    assert machine.property("NRestarts") == "0"


def test_what_a_model_finds_under_the_unit(machine: Machine) -> None:
    machine.site.simulate(chat={}, user={"user": "nobody", "workdir": "/"})
    machine.ok("start", "vllmctl")
    leader = machine.model("chat", "RUNNING")["pid"]
    status = dict(
        line.split(":\t", 1)
        for line in machine.file(f"/proc/{leader}/status").splitlines()
        if ":\t" in line
    )
    assert status["Seccomp"] == "0"  # no filter on its system calls
    assert status["NoNewPrivs"] == "0"
    bounds = int(status["CapBnd"], 16)
    for number in (22, 25, 34):  # SYS_BOOT, SYS_TIME, SYSLOG: capabilities(7)
        assert not bounds >> number & 1
    for number in (14, 16, 19, 23, 27):  # IPC_LOCK, SYS_MODULE, SYS_PTRACE, SYS_NICE, MKNOD
        assert bounds >> number & 1
    limits = machine.file(f"/proc/{leader}/limits")
    if bounds >> SYS_RESOURCE & 1:  # else nobody here may raise one
        assert re.search(r"Max locked memory +unlimited", limits)
        assert re.search(r"Max open files +65536 +1048576", limits)
    assert "/vllmctl.service/vllmctl-" in machine.file(f"/proc/{leader}/cgroup")
    environ = machine.file(f"/proc/{leader}/environ").split("\0")
    assert "HOME=/root" in environ
    assert not [
        one for one in environ if one.startswith(("NOTIFY_", "WATCHDOG_", "STATE_", "CACHE_"))
    ]
    state = machine.inside("stat", "-c", "%a %U", "/var/lib/vllmctl", "/var/cache/vllmctl").stdout
    assert state.splitlines() == ["700 root", "700 root"]
