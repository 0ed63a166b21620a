"""One run of one model: the process between the daemon and a server.

The shim is the server's parent and the subreaper of everything that it starts, the only writer of
its log, and the one that writes down how the run ended. It decides no policy. It runs one command
once; asked to stop, or when the command has ended by itself, it sees to it that the whole tree is
gone (until `waitpid` says ECHILD), writes the exit record, and leaves. The daemon may die and come
back at any time without the shim or the server noticing.

It runs alone in a `python -I -S`, so it must stay what it is: standard library only, no threads,
few imports, small in memory. It must not know what a model is.

What it is given, on descriptor 0: NUL-separated `key=value` fields (see `Spec`), in a memory file.
On descriptor 3: the write end of a pipe, closed once the command was executed or could not be.

What it leaves in the run's directory, each file written under another name and renamed:
    shim.json   it has begun: process ids with their start times, the log pipe, where the log began
    stop.json   it was asked to stop: the cause, and when the last rungs of the ladder begin
    exit.json   it has ended: what `waitpid` said of the leader, or why it could not be executed
    control     a FIFO for the daemon's words, one a line:
                    stop SIGNAL GRACE CAUSE   the ladder, from the top
                    kill CAUSE                its last rung, at once
                    log MAX_SIZE KEEP         another rotation, from now on
"""

import ctypes
import errno
import fcntl
import os
import select
import sys
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal
else:
    import _signal as signal  # what signal.py wraps in enums, for 7 ms and 0.7 MiB of every run

PR_SET_CHILD_SUBREAPER = 36  # prctl(2), linux/prctl.h

TREE_GRACE = 1.0
"""Seconds that the rest of the tree has between TERM and KILL, after the leader had its turn."""
LONGEST_GRACE = 1e9
"""Seconds; JSON knows no infinity."""
KILL_INTERVAL = 0.05
"""Seconds between two rounds of KILL: a tree that forks while being killed needs several."""
LOG_CHECK_INTERVAL = 1.0
"""Seconds between two looks whether the log file is still where it was."""
CHUNK = 65536
LONGEST_POLL = 3600.0
"""Seconds; poll(2) counts milliseconds in 32 bits, and a grace may be longer."""
RECORD_SIZE = 1024
"""Bytes set aside for each record before the command runs, so that a full disk cannot lose it."""
LONGEST_ORDER = 256
"""Bytes of a line on the control FIFO; a longer one is none of the daemon's."""


class Spec:
    """What to run and where: the fields of descriptor 0. Durations in seconds, sizes in bytes."""

    def __init__(self, data: bytes) -> None:
        one: dict[str, str] = {}
        self.argv: list[str] = []
        self.env: dict[str, str] = {}
        self.limits: list[tuple[str, int]] = []
        for field in os.fsdecode(data).split("\0")[:-1]:
            key, _, value = field.partition("=")
            if key == "argv":
                self.argv.append(value)
            elif key == "env":
                name, _, content = value.partition("=")
                self.env[name] = content
            elif key == "limit":
                name, _, number = value.partition("=")
                self.limits.append((name, int(number)))
            else:
                one[key] = value
        self.run_id = one["run"]
        self.run_dir = one["run_dir"]
        self.lock = one["lock"]
        self.workdir = one["workdir"]
        self.log = one["log"]
        self.log_max_size = int(one["log_max_size"])
        self.log_keep = int(one["log_keep"])
        self.stop_signal = int(one["stop_signal"])
        self.stop_grace = float(one["stop_grace"])
        self.identity: tuple[int, int, list[int]] | None = None
        if "uid" in one:
            groups = [int(group) for group in one["groups"].split(",") if group]
            self.identity = (int(one["uid"]), int(one["gid"]), groups)


class Log:
    """The log file: appended to, rotated by size at line ends, never in the way of the writer."""

    def __init__(self, path: str, max_size: int, keep: int) -> None:
        self.path = path
        self.max_size = max_size
        self.keep = keep
        self.dropped = 0
        """Bytes lost since the last line that said so."""
        self.dropped_total = 0
        self.at_line_start = True
        self._checked = 0.0
        self._fd = -1
        self._open()

    def _open(self) -> None:
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        flags |= os.O_NONBLOCK  # a FIFO in the log's place is an error (ENXIO), not a wait
        self._fd = os.open(self.path, flags, 0o600)
        status = os.fstat(self._fd)
        self.device, self.inode, self.size = status.st_dev, status.st_ino, status.st_size

    def write(self, data: bytes) -> None:
        """Append; what the disk refuses is dropped, counted, and confessed to later."""
        self._follow_the_path()
        while self.max_size and self.size + len(data) >= self.max_size:
            room = max(0, self.max_size - self.size)
            cut = data.find(b"\n", max(0, room - 1)) + 1  # the line that fills the file is its last
            if not cut:
                if self.size < 2 * self.max_size:
                    break
                cut = len(data)  # no line ends in sight: cut anywhere
            self._append(data[:cut])
            data = data[cut:]
            self._rotate()
        if data:
            self._append(data)

    def mark(self, text: str) -> None:
        """Write a line of the shim's own, on a line of its own."""
        stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        lead = "" if self.at_line_start else "\n"
        self.write(f"{lead}[vllmctl] {stamp} {text}\n".encode())

    def _append(self, data: bytes) -> None:
        if self.dropped:
            note = f"\n[vllmctl] {self.dropped} bytes of output were lost here: the disk was full\n"
            if not self._put(note.encode()):
                self._drop(len(data))
                return
            self.dropped = 0
        written = self._put(data)
        if written < len(data):
            self._drop(len(data) - written)
        if written:
            self.at_line_start = data[written - 1 : written] == b"\n"

    def _put(self, data: bytes) -> int:
        done = 0
        try:
            while done < len(data):
                done += os.write(self._fd, data[done:])
        except OSError:
            pass  # a full or broken disk; the caller counts what is missing
        self.size += done
        return done

    def _drop(self, count: int) -> None:
        self.dropped += count
        self.dropped_total += count

    def _follow_the_path(self) -> None:
        """Make the file again if somebody deleted or moved it."""
        now = time.monotonic()
        if now - self._checked < LOG_CHECK_INTERVAL:
            return
        self._checked = now
        try:
            status = os.stat(self.path, follow_symlinks=False)
            if (status.st_dev, status.st_ino) == (self.device, self.inode):
                self.size = status.st_size  # somebody may have truncated it
                return
        except OSError:
            pass  # gone: made again below
        self._reopen()

    def _rotate(self) -> None:
        try:
            self._remove_from(self.keep + 1)
            if self.keep == 0:
                os.unlink(self.path)
            else:
                for number in range(self.keep - 1, 0, -1):
                    self._rename(f"{self.path}.{number}", f"{self.path}.{number + 1}")
                self._rename(self.path, f"{self.path}.1")
        except OSError:
            pass  # rotation is a courtesy: the log goes on in the file that is open
        self._reopen()

    def _remove_from(self, number: int) -> None:
        """Remove what is left of a time when more was kept."""
        try:
            while True:
                os.unlink(f"{self.path}.{number}")
                number += 1
        except FileNotFoundError:
            pass  # as a rule there is nothing

    @staticmethod
    def _rename(old: str, new: str) -> None:
        try:
            os.rename(old, new)
        except FileNotFoundError:
            pass  # fewer files than `keep`, so far

    def _reopen(self) -> None:
        old = self._fd
        try:
            self._open()
        except OSError:
            return  # keep writing to the file that is open
        os.close(old)


def process_stat(pid: int) -> tuple[str, int, int] | None:
    """(state, parent, start time in clock ticks since boot) of a process; proc_pid_stat(5)."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            fields = file.read().rpartition(b")")[2].split()
    except OSError:
        return None
    return fields[0].decode(), int(fields[1]), int(fields[19])


def process_table() -> dict[int, tuple[str, int, int]]:
    """`process_stat` of every process."""
    table = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            stat = process_stat(int(name))
            if stat:
                table[int(name)] = stat
    return table


def descendants(root: int, table: dict[int, tuple[str, int, int]]) -> list[tuple[int, int]]:
    """(pid, start time) of everything below `root` that still runs; zombies do not."""
    children: dict[int, list[int]] = {}
    for pid, (_, parent, _) in table.items():
        children.setdefault(parent, []).append(pid)
    found, queue = [], [root]
    while queue:
        for pid in children.get(queue.pop(0), []):
            queue.append(pid)
            if table[pid][0] not in "ZX":
                found.append((pid, table[pid][2]))
    return found


def send(pid: int, start: int, number: int) -> None:
    """Signal the process that began at `start`, never another that has got its number since."""
    try:
        pidfd = os.pidfd_open(pid)
    except OSError:
        return  # gone
    try:
        stat = process_stat(pid)
        if stat and stat[2] == start:
            signal.pidfd_send_signal(pidfd, number)
    except OSError:
        pass  # gone, or it has other rights than ours; the next round tries again
    finally:
        os.close(pidfd)


class Run:
    """The life of one run, from fork to exit record."""

    def __init__(self, spec: Spec, log: Log) -> None:
        self.spec = spec
        self.log = log
        self.log_begin = (log.device, log.inode, log.size)
        self.cause = ""
        """The word that came with the request to stop; empty while nobody has asked."""
        self.leader = 0
        self.leader_start = 0
        self.status: int | None = None
        """What waitpid said of the leader."""
        self.phase = "run"
        """run → term (the leader has been asked) → tree (the rest has) → kill."""
        self.deadline: float | None = None
        self.control_rest = b""

    # -- beginning ---------------------------------------------------------------------------

    def prepare(self) -> None:
        spec = self.spec
        os.mkfifo(f"{spec.run_dir}/control", 0o600)
        # Open for writing too: a FIFO without any writer would be readable for ever (EOF).
        self.control = os.open(f"{spec.run_dir}/control", os.O_RDWR | os.O_NONBLOCK)
        self.pipe, self.pipe_in = os.pipe()
        os.set_blocking(self.pipe, False)
        self.wakeup, wakeup_in = os.pipe()
        os.set_blocking(self.wakeup, False)
        os.set_blocking(wakeup_in, False)
        signal.set_wakeup_fd(wakeup_in, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.signal(signal.SIGTERM, lambda *_: self.stop("shim-terminated"))
        for number in (signal.SIGINT, signal.SIGHUP, signal.SIGQUIT):
            signal.signal(number, signal.SIG_IGN)

    def launch(self) -> tuple[int, str] | None:
        """Fork and execute; an (errno, step) if that did not work."""
        report, report_in = os.pipe()
        self.leader = os.fork()
        if self.leader == 0:
            self.become_the_command(report_in)
        os.close(report_in)
        os.close(self.pipe_in)
        with open(report, "rb") as file:
            problem = file.read().decode()  # empty: the exec closed it
        if problem:
            number, _, step = problem.partition(" ")
            return int(number), step
        stat = process_stat(self.leader)
        self.leader_start = stat[2] if stat else 0
        return None

    def become_the_command(self, report: int) -> None:
        """In the child: everything that the command must find as if nobody had started it."""
        spec = self.spec
        step = "session"
        try:
            os.setsid()
            step = "descriptors"
            os.dup2(self.pipe_in, 1)
            os.dup2(self.pipe_in, 2)
            step = "limits"
            if spec.limits:
                import resource  # only some runs need it

                for name, number in spec.limits:
                    kind = getattr(resource, f"RLIMIT_{name.upper()}")
                    hard = resource.getrlimit(kind)[1]
                    enough = hard == resource.RLIM_INFINITY or number <= hard
                    resource.setrlimit(kind, (number, hard if enough else number))
            step = "user"
            if spec.identity:
                uid, gid, groups = spec.identity
                os.setgroups(groups)
                os.setgid(gid)
                os.setuid(uid)
            step = "workdir"
            os.chdir(spec.workdir)
            os.umask(0o022)
            step = "signals"
            signal.set_wakeup_fd(-1)
            for number in range(1, signal.NSIG):
                if signal.getsignal(number) not in (signal.SIG_DFL, None):
                    signal.signal(number, signal.SIG_DFL)
            signal.pthread_sigmask(signal.SIG_SETMASK, [])
            step = "exec"
            os.execvpe(spec.argv[0], spec.argv, spec.env)
        except OSError as error:
            os.write(report, f"{error.errno or errno.EIO} {step}".encode())
        except (ValueError, OverflowError, AttributeError):
            # A limit above the hard one or unknown here, a number out of range, a NUL in a word.
            os.write(report, f"{errno.EINVAL} {step}".encode())
        finally:
            os._exit(127)

    # -- going on ----------------------------------------------------------------------------

    def loop(self) -> None:
        """Until the whole tree is gone."""
        poll = select.poll()
        for fd in (self.pipe, self.control, self.wakeup):
            poll.register(fd, select.POLLIN)
        while self.reap():
            ready = dict(poll.poll(self.timeout()))
            if self.wakeup in ready:
                os.read(self.wakeup, CHUNK)
            if self.pipe in ready and self.copy_log() == b"":
                poll.unregister(self.pipe)  # nobody can write any more
            if self.control in ready and self.reap():  # what ended before was not asked to
                self.hear(os.read(self.control, CHUNK))
            if self.deadline is not None and time.monotonic() >= self.deadline:
                self.climb()
        while self.copy_log():
            pass

    def timeout(self) -> float | None:
        """Milliseconds until the next rung; None: until something happens."""
        if self.deadline is None:
            return None
        return min(max(0.0, self.deadline - time.monotonic()), LONGEST_POLL) * 1000 + 1

    def reap(self) -> bool:
        """Collect the dead. True while anybody lives."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return False
            if pid == 0:
                return True
            if pid == self.leader and self.status is None:  # later: another with its number
                self.status = status
                if self.phase in ("run", "term"):
                    self.phase, self.deadline = "term", time.monotonic()  # the rest is next

    def copy_log(self) -> bytes | None:
        """Move one chunk from the pipe to the log. None: nothing there now; empty: the end."""
        try:
            data = os.read(self.pipe, CHUNK)
        except BlockingIOError:
            return None
        if data:
            self.log.write(data)
        return data

    def hear(self, data: bytes) -> None:
        """Carry out the whole lines among the bytes of the control FIFO."""
        *lines, rest = (self.control_rest + data).split(b"\n")
        self.control_rest = rest[: LONGEST_ORDER + 1]
        for line in lines:
            try:
                self.obey(line[: LONGEST_ORDER + 1])
            except (ValueError, OverflowError):
                self.log.mark(f"an order was not understood: {line[:LONGEST_ORDER]!r}")

    def obey(self, line: bytes) -> None:
        """Raises ValueError, and does nothing, if the line is no order."""
        match line.decode("ascii").split() if len(line) <= LONGEST_ORDER else ():
            case ["stop", number, grace, cause] if is_word(cause):
                if not (1 <= int(number) < signal.NSIG and float(grace) >= 0):  # not NaN either
                    raise ValueError(line)
                self.stop(cause, int(number), float(grace))
            case ["kill", cause] if is_word(cause):
                if self.status is None:
                    self.cause = self.cause or cause
                self.phase, self.deadline = "kill", time.monotonic()
            case ["log", max_size, keep] if max_size.isdigit() and keep.isdigit():
                self.log.max_size, self.log.keep = int(max_size), int(keep)
            case _:
                raise ValueError(line)

    # -- ending ------------------------------------------------------------------------------

    def stop(self, cause: str, number: int | None = None, grace: float | None = None) -> None:
        """The first rung: ask the leader. A second request changes nothing but the time left."""
        if self.phase not in ("run", "term") or self.status is not None:
            return
        deadline = time.monotonic() + (self.spec.stop_grace if grace is None else grace)
        if self.phase == "term" and self.deadline is not None:
            self.deadline = min(self.deadline, deadline)
            return
        self.cause = cause
        self.phase, self.deadline = "term", deadline
        send(self.leader, self.leader_start, number or self.spec.stop_signal)
        send(self.leader, self.leader_start, signal.SIGCONT)  # a stopped process hears nothing
        self.write_stop_record(deadline - time.monotonic())

    def climb(self) -> None:
        """The next rung."""
        if self.phase == "term":
            for pid, start in descendants(os.getpid(), process_table()):
                if pid != self.leader or self.status is not None:
                    send(pid, start, signal.SIGTERM)
                    send(pid, start, signal.SIGCONT)
            self.phase, self.deadline = "tree", time.monotonic() + TREE_GRACE
            return
        self.phase = "kill"
        for pid, start in descendants(os.getpid(), process_table()):
            send(pid, start, signal.SIGKILL)
        self.deadline = time.monotonic() + KILL_INTERVAL

    def abandon(self) -> None:
        """Kill everything: a bug, or a directory that was taken away, leaves no orphan either."""
        self.phase = "kill"
        while self.reap():
            self.climb()
            time.sleep(KILL_INTERVAL)

    # -- records -----------------------------------------------------------------------------

    def write_begin_record(self) -> None:
        device, inode, size = self.log_begin
        write_reserved(
            self.spec,
            "shim",
            f'{{"run": "{self.spec.run_id}", "boot_id": "{boot_id()}", {now()},\n'
            f' "shim": {{"pid": {os.getpid()}, "start": {own_start()}}},\n'
            f' "leader": {{"pid": {self.leader}, "start": {self.leader_start}}},\n'
            f' "pipe_inode": {os.fstat(self.pipe).st_ino},\n'
            f' "log": {{"device": {device}, "inode": {inode}, "offset": {size}}}}}',
        )

    def write_stop_record(self, grace: float) -> None:
        """For a daemon that comes while the ladder is climbed. A full disk costs only that."""
        kill_at = time.clock_gettime(time.CLOCK_BOOTTIME) + min(grace, LONGEST_GRACE)
        temporary = f"{self.spec.run_dir}/stop.tmp"
        try:
            with open(temporary, "w") as file:
                file.write(f'{{"cause": "{self.cause}", "kill_at": {kill_at:.6f}}}\n')
            os.rename(temporary, f"{self.spec.run_dir}/stop.json")
        except OSError:
            pass  # the disk is full

    def write_exit_record(self, problem: tuple[int, str] | None) -> None:
        code = signum = None
        if self.status is not None and problem is None:
            if os.WIFSIGNALED(self.status):
                signum = os.WTERMSIG(self.status)
            else:
                code = os.WEXITSTATUS(self.status)
        write_exit_record(self.spec, code, signum, problem, self.cause, self.log.dropped_total)

    def how_it_ended(self) -> str:
        if self.status is None:
            return "ended in a way nobody saw"
        if os.WIFSIGNALED(self.status):
            return f"ended by signal {os.WTERMSIG(self.status)}"
        return f"ended with exit code {os.WEXITSTATUS(self.status)}"


def is_word(text: str) -> bool:
    """Whether it may stand in a record as it is."""
    return text.replace("-", "").isalnum()


def reserve_records(spec: Spec) -> None:
    """Take the disk space of both records while there is some."""
    for name in ("shim", "exit"):
        with open(f"{spec.run_dir}/{name}.tmp", "wb") as file:
            os.posix_fallocate(file.fileno(), 0, RECORD_SIZE)


def write_reserved(spec: Spec, name: str, record: str) -> None:
    """Write a record over the bytes that `reserve_records` set aside, and show it."""
    temporary = f"{spec.run_dir}/{name}.tmp"
    with open(temporary, "r+b") as file:
        file.write(record.ljust(RECORD_SIZE - 1).encode() + b"\n")
    os.rename(temporary, f"{spec.run_dir}/{name}.json")


def write_exit_record(
    spec: Spec,
    code: int | None,
    signum: int | None,
    problem: tuple[int, str] | None,
    cause: str = "",
    dropped: int = 0,
) -> None:
    """How the run ended."""
    failed = f'{{"errno": {problem[0]}, "step": "{problem[1]}"}}' if problem else "null"
    asked = f'"{cause}"' if cause else "null"
    write_reserved(
        spec,
        "exit",
        f'{{"run": "{spec.run_id}", "boot_id": "{boot_id()}", {now()},\n'
        f' "code": {json_number(code)}, "signal": {json_number(signum)},\n'
        f' "exec_error": {failed}, "cause": {asked}, "dropped_bytes": {dropped}}}',
    )


def json_number(value: int | None) -> str:
    return "null" if value is None else str(value)


def now() -> str:
    """The time as two JSON members: for people, and for reckoning (seconds since boot)."""
    boottime = time.clock_gettime(time.CLOCK_BOOTTIME)
    return f'"at": {time.time():.6f}, "boottime": {boottime:.6f}'


def boot_id() -> str:
    with open("/proc/sys/kernel/random/boot_id") as file:
        return file.read().strip()


def own_start() -> int:
    stat = process_stat(os.getpid())
    return stat[2] if stat else 0


def read_spec() -> Spec:
    with open(0, "rb", closefd=False) as file:
        spec = Spec(file.read())
    null = os.open("/dev/null", os.O_RDWR)
    os.dup2(null, 0, inheritable=True)
    os.dup2(null, 1, inheritable=True)
    os.close(null)
    return spec


def shed_descriptors() -> None:
    """Let go of what whoever began the daemon had open and passed on: a script's lock, say."""
    os.set_inheritable(3, False)
    for name in os.listdir("/proc/self/fd"):
        if int(name) > 3:
            try:
                os.close(int(name))
            except OSError:
                pass  # the listing's own, closed by now


def main() -> int:
    """Exit status: 0 when an exit record was written, 1 when there was nothing to run."""
    os.umask(0o077)
    shed_descriptors()
    spec = read_spec()
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    lock = os.open(spec.lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        print("another run of this instance is alive; this one was not started", file=sys.stderr)
        return 1
    if not os.path.exists(f"{spec.run_dir}/run.json"):
        print("the run was called off before it began", file=sys.stderr)
        return 1
    reserve_records(spec)
    try:
        log = Log(spec.log, spec.log_max_size, spec.log_keep)
    except OSError as error:
        write_exit_record(spec, None, None, (error.errno or errno.EIO, "log"))
        return 0
    run = Run(spec, log)
    run.prepare()
    try:
        problem = run.launch()
        if problem is None:
            log.mark(f"run {spec.run_id} started: pid {run.leader}")
            run.write_begin_record()
            os.close(3)  # the daemon looks at the records when this pipe closes
        run.loop()
    except BaseException:
        run.abandon()
        raise
    end = run.how_it_ended() if problem is None else f"not executed: {os.strerror(problem[0])}"
    log.mark(f"run {spec.run_id} {end}")
    run.write_exit_record(problem)
    return 0


if __name__ == "__main__":
    sys.exit(main())
