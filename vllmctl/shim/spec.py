"""What a shim is told to run, and where."""

import os


class Spec:
    """What to run and where: the fields of descriptor 0. Durations in seconds, sizes in bytes."""

    def __init__(self, data: bytes) -> None:
        one: dict[str, str] = {}
        self.argv: list[str] = []
        self.env: dict[str, str] = {}
        self.limits: list[tuple[str, int]] = []
        self.shown_words: list[str] = []
        self.shown_variables: list[str] = []
        """What `/proc` shows of the shim itself; see `marks`."""
        for field in os.fsdecode(data).split("\0")[:-1]:
            key, _, value = field.partition("=")
            if key == "argv":
                self.argv.append(value)
            elif key == "env":
                name, _, content = value.partition("=")
                self.env[name] = content
            elif key == "shown_word":
                self.shown_words.append(value)
            elif key == "shown_variable":
                self.shown_variables.append(value)
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
        # A daemon that was begun before an upgrade, and starts the shim of after it, does not say.
        self.log_compress = one.get("log_compress") == "yes"
        self.stop_signal = int(one["stop_signal"])
        self.stop_grace = float(one["stop_grace"])
        self.cgroup = one.get("cgroup")
        self.identity: tuple[int, int, list[int]] | None = None
        if "uid" in one:
            groups = [int(group) for group in one["groups"].split(",") if group]
            self.identity = (int(one["uid"]), int(one["gid"]), groups)
