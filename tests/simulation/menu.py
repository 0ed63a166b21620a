"""The models that a file of the simulated world may hold, and the ways they may be changed."""

from __future__ import annotations

import random
from dataclasses import replace

from vllmctl.core.spec import (
    Engine,
    Health,
    Instance,
    Launch,
    Log,
    Policy,
    Restart,
    RestartPolicy,
    Stop,
)

ALWAYS, NEVER = RestartPolicy.ALWAYS, RestartPolicy.NEVER
RESTARTS = (
    Restart(),
    Restart(max_restarts=2),
    Restart(max_restarts=None),
    Restart(policy=ALWAYS, max_restarts=2, delay=1, jitter=0.5),
    Restart(max_restarts=0),
    Restart(delay=0, max_restarts=3, reset_after=20),
    Restart(policy=NEVER),
    Restart(policy=NEVER),
)


def _one(name: str, engine: Engine, entry: str = "", **launch: object) -> Instance:
    argv = ("serve", name, "--port", "{port}")
    return Instance(name, entry or name, engine, Launch(argv, "/", **launch))  # type: ignore[arg-type]


_A = _one("a", Engine.VLLM, gpus=(0,), port=8000)
_B = _one("b", Engine.VLLM, gpus=(0, 1), port=8001)
_C = _one("c", Engine.COMMAND, port=None)
_D = _one("d", Engine.SIMULATOR)
_D2 = _one("d:2", Engine.SIMULATOR, "d")
VARIANTS: dict[str, tuple[Instance, ...]] = {
    "a": (_A, replace(_A, launch=replace(_A.launch, port=8001))),
    "b": (_B, replace(_B, launch=replace(_B.launch, port=8000, gpus=None))),
    "c": (_C, replace(_C, launch=replace(_C.launch, env=(("X", "1"),)))),
    "d": (_D, replace(_D, launch=replace(_D.launch, workdir="/tmp"))),
    "d:2": (_D2,),
}


def first_file(chance: random.Random) -> dict[str, Instance]:
    return {
        name: replace(variants[0], policy=_policy(name, chance))
        for name, variants in VARIANTS.items()
        if name != "d:2"
    }


def edited(file: dict[str, Instance], chance: random.Random) -> dict[str, Instance]:
    """Another valid file: a model more, less, launched otherwise, or with another policy."""
    file = dict(file)
    name = chance.choice(tuple(VARIANTS))
    if name in file and len(file) > 1 and chance.random() < 0.3:
        del file[name]
        if name == "d":
            file.pop("d:2", None)
        return file
    if name == "d:2" and "d" not in file:
        name = "d"
    before = file.get(name)
    if before is not None and chance.random() < 0.6:
        file[name] = replace(before, policy=_policy(name, chance))
        return file
    after = chance.choice(VARIANTS[name])
    if before is not None:
        after = replace(after, policy=before.policy)
    port = after.launch.port
    for other, one in list(file.items()):  # one port twice is an error of the file
        if other != name and isinstance(port, int) and one.launch.port == port:
            del file[other]
    file[name] = after
    return file


def _policy(name: str, chance: random.Random) -> Policy:
    return Policy(
        restart=chance.choice(RESTARTS),
        health=Health(
            path=None if name == "c" and chance.random() < 0.5 else "/health",
            failures=chance.randint(1, 3),
            start_timeout=chance.choice((60.0, 1800.0)),
            stall_timeout=chance.choice((40.0, 600.0)),
        ),
        stop=Stop(grace=chance.choice((0.0, 5.0, 30.0))),
        log=Log(keep=chance.randint(0, 2)),
        autostart=chance.random() < 0.8,
        depends_on=("a",) if name == "b" and chance.random() < 0.6 else (),
    )
