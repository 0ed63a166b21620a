"""The life of one run, from fork to exit record."""

import errno
import fcntl
import os
import select
import time

from .log import Log
from .records import boot_id, now, own_start, write_exit_record, write_reserved
from .spec import Spec
from .tree import kill_cgroup, process_stat, process_table, send, tree

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal
else:
    import _signal as signal  # what signal.py wraps in enums, for 7 ms and 0.7 MiB of every run

PROTOCOL = 2
"""Which orders are understood. 1: stop, kill, `log` with two numbers. 2: `log` with a form."""
TREE_GRACE = 1.0
"""Seconds that the rest of the tree has between TERM and KILL, after the leader had its turn."""
LONGEST_GRACE = 1e9
"""Seconds; JSON knows no infinity."""
KILL_INTERVAL = 0.05
"""Seconds between two rounds of KILL: a tree that forks while being killed needs several."""
QUICK_KILLS = 100
"""Rounds after which there is a member that cannot be killed (uninterruptible sleep)."""
SLOW_KILL_INTERVAL = 1.0
CHUNK = 1 << 18
"""Bytes that are moved at once, and that wait for it at most. Four times what a pipe holds by
default: looking around costs as much for each chunk. Not the largest pipe that one may have: of all
its pages together a user without privileges has 64 MiB, pipe(7), which is 256 runs."""
CHUNKS_PER_ROUND = 8
"""As many full ones are moved before anything else is looked at: some milliseconds."""
LONGEST_POLL = 3600.0
"""Seconds; poll(2) counts milliseconds in 32 bits, and a grace may be longer."""
LONGEST_ORDER = 256
"""Bytes of a line on the control FIFO; a longer one is none of the daemon's."""


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
        self.kills = 0
        """Rounds of KILL so far."""
        self.control_rest = b""

    # -- beginning ---------------------------------------------------------------------------

    def prepare(self) -> None:
        spec = self.spec
        os.mkfifo(f"{spec.run_dir}/control", 0o600)
        # Open for writing too: a FIFO without any writer would be readable for ever (EOF).
        self.control = os.open(f"{spec.run_dir}/control", os.O_RDWR | os.O_NONBLOCK)
        self.pipe, self.pipe_in = os.pipe()
        os.set_blocking(self.pipe, False)
        try:
            fcntl.fcntl(self.pipe, fcntl.F_SETPIPE_SZ, CHUNK)
        except OSError:
            pass  # he has too much in pipes; this one stays as it is
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
            self.enter_cgroup()
            step = "user"
            if spec.identity:
                uid, gid, groups = spec.identity
                os.fchown(1, uid, gid)  # else he could not open /dev/stderr: proc_pid_fd(5)
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

    def enter_cgroup(self) -> None:
        """Without it the run is as well held as where there are no cgroups."""
        if self.spec.cgroup:
            try:
                with open(f"{self.spec.cgroup}/cgroup.procs", "w") as file:
                    file.write("0")
            except OSError:
                pass

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
            if self.pipe in ready and not self.copy_log():
                poll.unregister(self.pipe)  # nobody can write any more
            if self.control in ready and self.reap():  # what ended before was not asked to
                self.hear(os.read(self.control, CHUNK))
            if self.deadline is not None and time.monotonic() >= self.deadline:
                self.climb()
        while self.move_chunk():
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
            if pid == self.log.compressor.pid:
                self.log.compressor.ended(status)
            elif pid == self.leader and self.status is None:  # later: another with its number
                self.status = status
                self.log.compressor.close()  # it would be waited for
                if self.phase in ("run", "term"):
                    self.phase, self.deadline = "term", time.monotonic()  # the rest is next

    def copy_log(self) -> bool:
        """Move what waits in the pipe to the log; False: it has come to its end."""
        for _ in range(CHUNKS_PER_ROUND):
            data = self.move_chunk()
            if data == b"":
                return False
            if data is None or len(data) < CHUNK:
                break  # the pipe is empty, or was a moment ago
        return True

    def move_chunk(self) -> bytes | None:
        """None: nothing is there now; empty: the end."""
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
                self.write_stop_record(0)
            case ["log", max_size, keep, *form] if max_size.isdigit() and keep.isdigit():
                if form not in ([], ["gzip"], ["plain"]):
                    raise ValueError(line)
                self.log.max_size, self.log.keep = int(max_size), int(keep)
                if form and self.status is None:
                    self.log.compressor.wanted = form == ["gzip"]
            case ["record"] if self.leader_start:
                self.write_begin_record_again()
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
            for pid, start in tree(os.getpid(), process_table()):
                if pid != self.leader or self.status is not None:
                    send(pid, start, signal.SIGTERM)
                    send(pid, start, signal.SIGCONT)
            self.phase, self.deadline = "tree", time.monotonic() + TREE_GRACE
            return
        self.phase = "kill"
        if self.spec.cgroup:
            kill_cgroup(self.spec.cgroup)
        for pid, start in tree(os.getpid(), process_table()):
            send(pid, start, signal.SIGKILL)
        self.kills += 1
        patient = self.kills > QUICK_KILLS
        self.deadline = time.monotonic() + (SLOW_KILL_INTERVAL if patient else KILL_INTERVAL)

    def abandon(self) -> None:
        """Kill everything: a bug, or a directory that was taken away, leaves no orphan either."""
        self.phase = "kill"
        while self.reap():
            self.climb()
            time.sleep(KILL_INTERVAL)

    # -- records -----------------------------------------------------------------------------

    def write_begin_record_again(self) -> None:
        """A daemon came back and found it missing or damaged."""
        try:
            self.write_begin_record("wb")
        except OSError:
            pass  # the disk is full; the daemon asks again

    def write_begin_record(self, mode: str = "r+b") -> None:
        device, inode, size = self.log_begin
        write_reserved(
            self.spec,
            "shim",
            f'{{"run": "{self.spec.run_id}", "boot_id": "{boot_id()}", {now()},\n'
            f' "protocol": {PROTOCOL},\n'
            f' "shim": {{"pid": {os.getpid()}, "start": {own_start()}}},\n'
            f' "leader": {{"pid": {self.leader}, "start": {self.leader_start}}},\n'
            f' "pipe_inode": {os.fstat(self.pipe).st_ino},\n'
            f' "log": {{"device": {device}, "inode": {inode}, "offset": {size}}}}}',
            mode,
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
