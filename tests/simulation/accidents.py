"""What befalls a world: crashes, kills, a full disk, damage, and clocks that are set."""

from __future__ import annotations

from typing import TYPE_CHECKING

from simulation.disk import DAMAGED

if TYPE_CHECKING:
    from simulation.world import World


class Accidents:
    """Everything that may go wrong."""

    def __init__(self, world: World) -> None:
        self.world = world
        self._kinds = (
            (self.daemon_dies, 10),
            (self.shim_dies, 4),
            (self.both_die, 2),
            (self.leader_dies, 4),
            (self.member_dies, 1),
            (self.machine_reboots, 1),
            (self.clock_is_set, 3),
            (self.time_passes, 3),
            (self.disk_fills_or_empties, 3),
            (self.record_is_damaged, 4),
        )
        self._doings = [doing for doing, _ in self._kinds]
        self._weights = [weight for _, weight in self._kinds]

    def happen(self) -> None:
        self.world.chance.choices(self._doings, self._weights)[0]()

    def daemon_dies(self) -> None:
        if self.world.daemon is not None:
            self.world.trace.tell("the daemon is killed")
            self.world.promises.dies()
            self.world.daemon = None

    def shim_dies(self) -> None:
        self._kill("shim")

    def both_die(self) -> None:
        self.daemon_dies()
        self.shim_dies()

    def leader_dies(self) -> None:
        self._kill("leader")

    def member_dies(self) -> None:
        self._kill("member")

    def _kill(self, role: str) -> None:
        machine = self.world.machine
        found = [body for body in machine.bodies.values() if body.role == role]
        if found:
            machine.kill(self.world.chance.choice(found), "an accident")

    def machine_reboots(self) -> None:
        self.world.trace.tell("the machine reboots")
        self.daemon_dies()
        self.world.promises.reboots()
        self.world.machine.reboot()

    def clock_is_set(self) -> None:
        by = self.world.chance.choice((-86_400.0, -3600.0, -60.0, 60.0, 3600.0, 86_400.0))
        self.world.trace.tell(f"the wall clock is set by {by:+g} s")
        self.world.clock.set_wall(by)

    def time_passes(self) -> None:
        """The machine sleeps, or the daemon gets no turn for long."""
        self.world.advance(self.world.chance.choice((60.0, 1000.0, 4000.0, 20_000.0)))

    def disk_fills_or_empties(self) -> None:
        disk = self.world.disk
        disk.full = not disk.full
        self.world.trace.tell(f"the disk is {'full' if disk.full else 'not full any more'}")

    def record_is_damaged(self) -> None:
        disk, chance = self.world.disk, self.world.chance
        kind = chance.choice(("run", "shim", "stop", "exit", "instance", "intent", "config"))
        name = ""
        if kind == "instance" and disk.instances:
            name = chance.choice(sorted(disk.instances))
            disk.instances[name] = DAMAGED
        elif kind == "intent" and disk.intent is not None:
            disk.intent = DAMAGED
        elif kind == "config":
            disk.config = DAMAGED
        elif disk.runs and kind in ("run", "shim", "stop", "exit"):
            name = chance.choice(list(disk.runs))
            if kind == "exit" or getattr(disk.runs[name], kind) is not None:
                setattr(disk.runs[name], kind, DAMAGED)
            if kind == "exit":
                self.world.promises.lost.add(name)
        self.world.trace.tell(f"a record is damaged: {kind} {name}")
