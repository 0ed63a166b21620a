"""What people type and save, at any moment."""

from __future__ import annotations

from typing import TYPE_CHECKING

from simulation.menu import VARIANTS, edited

if TYPE_CHECKING:
    from simulation.world import World


class Operator:
    """Somebody at the keyboard."""

    def __init__(self, world: World) -> None:
        self.world = world
        self._pending: dict[str, int] = {}
        """Commands that are not answered yet, by name."""
        self._impatient: str | None = None

    def does_something(self) -> None:
        world, chance = self.world, self.world.chance
        daemon = world.daemon
        if daemon is None:
            world.start_daemon()
        elif not daemon.up or daemon.leaving:
            self.saves()
        else:
            doing = chance.choices(
                (self.saves, self.saves_nonsense, self.types, self.types_for_all, self.ends_it),
                (8, 1, 12, 1, 1),
            )[0]
            doing()

    def saves(self) -> None:
        world = self.world
        file = world.disk.file
        world.disk.file = edited(file if file is not None else world.good_file, world.chance)
        world.good_file = world.disk.file
        world.trace.tell(f"somebody saves {', '.join(world.disk.file)}")
        self._notify()

    def saves_nonsense(self) -> None:
        self.world.trace.tell("somebody saves nonsense")
        self.world.disk.file = None
        self._notify()

    def _notify(self) -> None:
        if self.world.daemon is not None:
            self.world.daemon.file_saved = True

    def types(self) -> None:
        assert self.world.daemon is not None
        impatient, self._impatient = self._impatient, None
        if impatient in self.world.daemon.desired.instances:
            self.type("stop", impatient)
            return
        known = [name for name in VARIANTS if name in self.world.daemon.desired.instances]
        if known:
            verb = self.world.chance.choices(("start", "stop", "restart"), (4, 4, 2))[0]
            name = self.world.chance.choice(known)
            self.type(verb, name)
            if verb == "stop" and self.world.chance.random() < 0.3:
                self._impatient = name  # says it once more when next there is something to say

    def types_for_all(self) -> None:
        assert self.world.daemon is not None
        verb = self.world.chance.choice(("start", "stop"))
        for name in list(self.world.daemon.desired.instances):
            self.type(verb, name)

    def type(self, verb: str, name: str) -> None:
        """Until it is answered with success, the next daemon may or may not know of it."""
        world, daemon = self.world, self.world.daemon
        assert daemon is not None
        if daemon.shutting_down and verb != "stop":
            return
        world.trace.tell(f"somebody types {verb} {name}")
        said = "stop" if verb == "stop" else "start"
        if said == "start":
            world.promises.asked[name] += 1
        world.promises.said.pop(name, None)
        world.promises.stops_in_a_row[name] += said == "stop"
        self._pending[name] = number = self._pending.get(name, 0) + 1

        def answered(written: bool) -> None:
            world.trace.tell(f"{verb} {name} is {'answered' if written else 'not written down'}")
            if written and self._pending[name] == number:
                world.promises.said[name] = said
                if said == "start":
                    world.promises.stops_in_a_row[name] = 0

        daemon.command(verb, name, answered)

    def ends_it(self) -> None:
        world, daemon = self.world, self.world.daemon
        assert daemon is not None
        if world.chance.random() < 0.5:
            world.trace.tell("somebody types shutdown --keep-models")
            daemon.leaving = True
        else:
            world.trace.tell("somebody types shutdown")
            daemon.leaving = daemon.shutting_down
            daemon.shutting_down = True
            daemon.changed = True
