"""How the simulated daemon comes back: what `backend/comingback` does, as the real one."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from simulation.disk import Folder, readable
from simulation.machine import Body, Life, Machine
from vllmctl.core import recovery
from vllmctl.core.observed import Cause, Run, Stopping
from vllmctl.core.recovery import Lock, Remains, Shim
from vllmctl.records import InstanceRecord, Process, RunRecord

if TYPE_CHECKING:
    from simulation.daemon import Daemon, Live


@dataclass(frozen=True, slots=True)
class Found:
    remains: Remains
    record: RunRecord | None
    shim: Body | None


def adopt(daemon: Daemon, *, intent_lost: bool) -> Life:
    """Find every run that an earlier daemon began."""
    for name, stored in daemon.disk.instances.items():
        record = readable(stored)
        if record is not None:
            daemon.records[name] = record
        else:
            daemon.world.promises.forgets(name)
    yield None
    found = []
    for run in list(daemon.disk.runs):
        found.append(_look(daemon, run))
        yield None
    outcomes = recovery.sort_out([one.remains for one in found])
    endings, of_no_account = [], []
    for one in found:
        outcome = outcomes[one.remains.run]
        daemon.tell(one.remains.name or "?", f"found: {outcome.why}")
        if isinstance(outcome, recovery.ClearAway) or one.record is None:
            daemon.world.promises.decided(one.remains, outcome)
            of_no_account.append(one)
            continue
        name, live = _take_up(daemon, one, one.record)
        task = daemon.own(f"settles {name}", _settle(daemon, name, live, one))
        if isinstance(outcome, recovery.TakeEnd):
            endings.append(task)
        elif isinstance(outcome, recovery.TakeLoss):
            daemon.sweeping.add(name)
    for one in of_no_account:
        name = one.remains.name
        if name is not None and name not in daemon.live and not one.remains.end_written:
            daemon.sweeping.add(name)
        task = daemon.own("clears away a run", _clear(daemon, one))
        if name is None:
            endings.append(task)
    if endings:
        yield lambda: all(task.done for task in endings)
    if intent_lost:
        held, generations = recovery.intent_shown(daemon.observed(()).instances)
        daemon.held |= held
        daemon.generations |= generations
        yield from daemon._write_intent(lambda _: None)


def _take_up(daemon: Daemon, found: Found, record: RunRecord) -> tuple[str, Live]:
    from simulation.daemon import Live

    name = record.instance.name
    known = daemon.records.get(name)
    if known is None:
        port = record.port if record.instance.launch.port == "auto" else None
        known = InstanceRecord(port=port, attempt=record.attempt)
    if known.run != record.run:
        known = replace(known, run=record.run, ready_at=None, running_since=None)
    daemon.records[name] = known
    now = daemon.clock.now()
    run = Run(
        id=record.run,
        launch=record.instance.launch,
        log=record.instance.policy.log,
        generation=record.generation,
        started_at=daemon.clock.at(record.started),
        progress_at=now,
        found_at=now,
    )
    live = daemon.live[name] = Live(run, record, next_probe=now)
    if daemon.shim_record(record.run) is not None:
        _recall(daemon, name, live)
    return name, live


def _recall(daemon: Daemon, name: str, live: Live) -> None:
    known = daemon.records[name]
    since = known.running_since
    live.run = replace(
        live.run,
        executed=True,
        ready=known.ready_at is not None,
        running_since=daemon.clock.at(since) if since else None,
        stopping=live.run.stopping or _stopping(daemon, live.run.id),
    )
    live.unhealthy = live.run.ready and since is None


def _settle(daemon: Daemon, name: str, live: Live, found: Found) -> Life:
    """Do what is decided, and look again until that stands."""
    while True:
        outcome = recovery.decide(found.remains)
        if isinstance(outcome, recovery.Adopt) and found.shim and not found.shim.alive:
            found = _look(daemon, found.remains.run, found.record)  # it has gone meanwhile
            continue
        daemon.world.promises.decided(found.remains, outcome)
        match outcome:
            case recovery.Adopt():
                _recall(daemon, name, live)
                live.shim = found.shim
                if _missing_record(daemon, live.run.id) and not daemon.disk.full:
                    daemon.disk.runs[live.run.id].run = live.record
                daemon.wake()
                return
            case recovery.TakeEnd() | recovery.TakeLoss():
                yield from daemon.finish(name, live)
                return
            case recovery.TakeBack():
                yield None
                found = yield from _take_back(daemon, found)
            case recovery.AwaitShim():
                daemon.order(live, "record")
                soon = daemon.clock.now() + 0.02
                daemon.world.alarms.append(soon)
                yield lambda at=soon: daemon.clock.now() >= at
                found = _look(daemon, found.remains.run, found.record)
            case recovery.Drop():
                live.ending = True
                daemon.records[name] = replace(daemon.records[name], run=None)
                del daemon.live[name]
                daemon.wake()
                yield None
                daemon.disk.runs.pop(live.run.id, None)
                return
            case recovery.ClearAway():
                yield from _clear(daemon, found)
                return


def _take_back(daemon: Daemon, found: Found):  # type: ignore[no-untyped-def]
    """Under the lock, which is held for no more than one step."""
    run, name = found.remains.run, found.remains.name
    if name in daemon.machine.locks:
        again = _look(daemon, run, found.record)
        return replace(again, remains=replace(again.remains, lock=Lock.HELD))
    daemon.disk.runs[run].run = None
    yield None
    again = _look(daemon, run, found.record)
    remains = replace(again.remains, lock=Lock.TAKEN)
    if remains.shim is Shim.UNKNOWN and not remains.exit:
        left = 0
        while found_bodies := daemon.machine.of_run(run):
            yield None
            daemon.machine.kill(found_bodies[0], "sweep")
            left += 1
        remains = replace(remains, left=left)
    return replace(again, remains=remains)


def _look(daemon: Daemon, run: str, record: RunRecord | None = None) -> Found:
    folder = daemon.disk.runs.get(run, Folder())
    named = next(
        (n for n, r in daemon.records.items() if r.run == run or (r.end and r.end.run == run)), None
    )
    record = record or _record(daemon, run, folder, named)
    name = record.instance.name if record else named
    shim = daemon.shim_record(run)
    body = alive(daemon.machine, shim.shim) if shim else None
    known = daemon.records.get(name or "", InstanceRecord())
    remains = Remains(
        run=run,
        name=name,
        known=record is not None,
        begun=daemon.clock.at(record.started) if record else 0.0,
        this_boot=daemon.clock.this_boot(record.started) if record else True,
        latest=known.run == run,
        end_written=known.end is not None and known.end.run == run,
        exit=readable(folder.exit) is not None,
        traces=folder.orders is not None,
        shim=Shim.ALIVE if body else Shim.GONE if shim else Shim.UNKNOWN,
    )
    return Found(remains, record, body)


def alive(machine: Machine, process: Process) -> Body | None:
    return machine.alive(process)


def _record(daemon: Daemon, run: str, folder: Folder, named: str | None) -> RunRecord | None:
    """What the run was told to run: by its record, its shim's copy, or the present definition."""
    record = readable(folder.run)
    if record is not None:
        return record
    shim = daemon.machine.shims.get(run)
    if shim is not None:
        return shim.record
    instance = daemon.desired.instances.get(named or "")
    if named is None or instance is None:
        return None
    known = daemon.records[named]
    before = known.end.generation if known.end else 0
    generation = max(daemon.generations.get(named, 0), before)
    stamp = known.ready_at or daemon.clock.stamp()
    argv = instance.launch.argv
    return RunRecord(run, instance, generation, stamp, None, argv, attempt=known.attempt)


def _missing_record(daemon: Daemon, run: str) -> bool:
    return readable(daemon.disk.runs[run].run) is None


def _stopping(daemon: Daemon, run: str) -> Stopping | None:
    record = readable(daemon.disk.runs[run].stop)
    if record is None:
        return None
    return Stopping(Cause(record.cause), f"asked before ({record.cause})", record.kill_at)


def _clear(daemon: Daemon, found: Found) -> Life:
    yield None
    yield from daemon.sweep(found.remains.run)
    name = found.remains.name
    if name is not None and name not in daemon.live:
        daemon.sweeping.discard(name)
        daemon.wake()
    yield None
    daemon.disk.runs.pop(found.remains.run, None)
