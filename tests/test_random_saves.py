"""Any files in any order: exactly what they change is touched, and the last good one wins.

The daemon, its processes and the saves are real. What should survive is reckoned a second time
here, from the raw files and in another way than the program does it.
"""

from __future__ import annotations

import json
import os
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from workplace import SHARE, Model, Site, quick, wait_for

from vllmctl.control.client import Client

PAIRS = 60
SAVES = 400 // SHARE
File = dict[str, Any]


# -- random files ----------------------------------------------------------------------------


def random_file(dice: random.Random) -> File:
    """Up to four models of few different kinds, so that two files often agree about one."""
    names = ["a", "b", "c", "d"]
    models = {name: random_model(dice) for name in names if dice.random() < 0.8}
    defaults: File = {"health": "off"}
    if dice.random() < 0.5:
        defaults["env"] = {"SHARED": dice.choice(["1", "2"])}
    if dice.random() < 0.3:
        defaults["gpus"] = 3
    return {"defaults": defaults, "models": dict(dice.sample(list(models.items()), len(models)))}


def random_model(dice: random.Random) -> File:
    model: File = {"command": dice.choice([["sleep", "1000"], ["sleep", 1000], ["sleep", "2000"]])}
    if dice.random() < 0.4:
        model["env"] = dice.choice([{"A": "1"}, {"A": 1}, {"A": "2"}, {"B": "x", "A": "1"}])
    if dice.random() < 0.3:
        model["gpus"] = dice.choice([0, [0], [0, 1], "none"])
    if dice.random() < 0.3:
        model["limits"] = dice.choice([{"nofile": 512}, {"nofile": "512"}, {"core": 0}])
    if dice.random() < 0.2:
        model["workdir"] = dice.choice([".", "/", "/tmp"])
    # Policy: no reason to touch a process.
    if dice.random() < 0.4:
        model["restart"] = dice.choice(["never", "always:7", {"delay": "9s"}])
    if dice.random() < 0.3:
        model["stop"] = {"grace": dice.choice(["5s", "6s"])}
    if dice.random() < 0.3:
        model["log"] = {"keep": dice.randrange(5)}
    if dice.random() < 0.3:
        model["labels"] = [dice.choice(["x", "y"])]
    return model


def written(file: File, dice: random.Random) -> str:
    """The same file in one of the ways in which a person may write it."""
    if dice.random() < 0.5:
        return json.dumps(file, indent=dice.choice([None, 1, 4])) + "\n"
    lines = [f"# {dice.random()}", f"defaults: {json.dumps(file['defaults'])}", "models:"]
    for name, model in file["models"].items():
        lines.append(f"  {name}:  # as it is")
        keys = dice.sample(list(model.items()), len(model))
        lines += [f"    {key}: {json.dumps(value)}" for key, value in keys]
    return "\n".join(lines if file["models"] else [*lines[:-1], "models: {}"]) + "\n"


def launches(file: File, folder: Path) -> dict[str, str]:
    """The second reckoning: what decides the process of each model, as one comparable text."""
    found = {}
    for name, model in file["models"].items():
        whole = {**file["defaults"], **model}
        env = {**file["defaults"].get("env", {}), **model.get("env", {})}
        gpus = whole.get("gpus")
        found[name] = repr(
            (
                " ".join(str(word) for word in whole["command"]),
                sorted(f"{key}={value}" for key, value in env.items()),
                [] if gpus == "none" else [gpus] if isinstance(gpus, int) else gpus,
                sorted(f"{key}={value}" for key, value in whole.get("limits", {}).items()),
                os.path.normpath(folder / whole.get("workdir", ".")),
            )
        )
    return found


# -- random pairs ----------------------------------------------------------------------------


@pytest.mark.parametrize("seed", [1, 2])
def test_the_processes_that_survive_are_exactly_those_whose_launch_is_the_same(
    site: Site, seed: int
) -> None:
    dice = random.Random(seed)
    old = random_file(dice)
    site.file.write_text(written(old, dice))
    site.start()
    before = settled(site, old)
    for number in range(PAIRS // 2):
        new = random_file(dice)
        site.file.write_text(written(new, dice))
        Client(site.state.socket).post("/v1/reload")
        after = settled(site, new)
        same = {
            name
            for name, launch in launches(old, site.root).items()
            if launches(new, site.root).get(name) == launch
        }
        survivors = {name for name, pid in before.items() if after.get(name) == pid}
        assert survivors == same, (seed, number, old, new)
        old, before = new, after


def settled(site: Site, file: File) -> dict[str, int]:
    """The leaders by model, once what runs is what the file says."""

    def at_rest() -> bool:
        models = site.document()["models"]
        return (
            {m["name"] for m in models} == set(file["models"])
            and all(m["state"] == "RUNNING" for m in models)
            and not Client(site.state.socket).get("/v1/plan").body["actions"]
        )

    wait_for(at_rest, "the file to be in effect")
    return {m["name"]: m["pid"] for m in site.document()["models"]}


# -- a storm of saves ------------------------------------------------------------------------


def test_after_any_saves_what_runs_is_what_the_last_good_file_says(site: Site) -> None:
    seed = 7
    dice = random.Random(seed)
    args = {"simulate-load-time": 0.3}
    models = {
        "quick": {"command": ["sleep", "1000"], "health": "off"},
        "other": {"command": ["sleep", "2000"], "health": "off"},
        "loads": quick(args=args),
        "stubborn": quick(args={**args, "simulate-ignore-term": True}, stop={"grace": "200ms"}),
    }
    good: File = {"models": {name: versioned(model, 0) for name, model in models.items()}}
    site.file.write_text(json.dumps(good) + "\n")
    site.start()
    changes = dict.fromkeys(models, 1)  # launches that the good files have asked for
    for number in range(1, SAVES + 1):
        kind = dice.choice(["good", "good", "policy", "broken", "half", "cut", "gone", "link"])
        text = json.dumps(good) + "\n"
        if kind in ("good", "link", "half"):
            name = dice.choice(list(models))
            good["models"][name] = versioned(models[name], number)
            changes[name] += 1
            text = json.dumps(good) + "\n"
        elif kind == "policy":
            name = dice.choice(list(models))
            good["models"][name] |= {"labels": [f"l{number}"]}
            text = json.dumps(good) + "\n"
        SAVE[kind](site, text, dice)
        if dice.random() < 0.1:  # now and then it has the time to be read, and to be in effect
            site.file.unlink(missing_ok=True)
            by_rename(site, json.dumps(good) + "\n", dice)
            wait_for(lambda: in_effect(site, good), "the save to be in effect")
    site.file.write_text(json.dumps(good) + "\n")
    wait_for(lambda: in_effect(site, good), "the last good file to be in effect", 60)
    for name in models:
        starts = [e for e in site.events(name) if e["event"] == "STARTING"]
        assert 1 <= len(starts) <= changes[name], (seed, name)
        assert site.model(name)["restarts"]["total"] == 0
    assert site.document()["daemon"]["config"]["valid"]
    assert not [event for event in site.events() if event["event"] == "trouble"]


def versioned(model: Model, number: int) -> Model:
    return model | {"env": {"ROUND": str(number)}}


def in_effect(site: Site, good: File) -> bool:
    """Every model is RUNNING, and its process was executed with what the file says."""
    found = {m["name"]: m for m in site.document()["models"]}
    if found.keys() != good["models"].keys():
        return False
    for name, model in good["models"].items():
        if found[name]["state"] != "RUNNING" or found[name]["labels"] != model.get("labels", []):
            return False
        try:
            environ = Path(f"/proc/{found[name]['pid']}/environ").read_bytes()
        except OSError:
            return False  # it has just ended
        if f"ROUND={model['env']['ROUND']}".encode() not in environ.split(b"\0"):
            return False
    return True


def in_place(site: Site, text: str, _: random.Random) -> None:
    site.file.write_text(text)


def by_rename(site: Site, text: str, _: random.Random) -> None:
    new = site.root / "new"
    new.write_text(text)
    new.rename(site.file)


def broken(site: Site, text: str, dice: random.Random) -> None:
    site.file.write_text(text.replace("env", "emv") if dice.random() < 0.5 else "models: [\n")


def half(site: Site, text: str, dice: random.Random) -> None:
    """Written in two pieces by one who has it open."""
    at = dice.randrange(len(text))
    with site.file.open("w") as file:
        file.write(text[:at])
        file.flush()
        site.document()  # some time goes by
        file.write(text[at:])


def cut(site: Site, text: str, dice: random.Random) -> None:
    """Its writer has died in the middle."""
    site.file.write_text(text[: dice.randrange(1, len(text) - 2)])


def gone(site: Site, text: str, dice: random.Random) -> None:
    if dice.random() < 0.5:
        site.file.unlink(missing_ok=True)
    else:
        site.file.rename(site.root / "elsewhere") if site.file.exists() else None
    if dice.random() < 0.5:
        by_rename(site, text, dice)


def link(site: Site, text: str, _: random.Random) -> None:
    """As a config map does: a link to another file takes its place."""
    target = site.root / f"target-{len(os.listdir(site.root))}"
    target.write_text(text)
    new = site.root / "new-link"
    new.symlink_to(target)
    new.rename(site.file)


SAVE: dict[str, Callable[[Site, str, random.Random], None]] = {
    "good": by_rename,
    "policy": in_place,
    "broken": broken,
    "half": half,
    "cut": cut,
    "gone": gone,
    "link": link,
}
