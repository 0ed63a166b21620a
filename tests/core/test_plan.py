"""What the planner decides, one sentence a test."""

from __future__ import annotations

from dataclasses import replace

import pytest
from values import (
    CLEAN,
    CRASH,
    HOPELESS,
    NOW,
    decide,
    ended,
    instance,
    launch,
    loading,
    serving,
    status,
    stopping,
)

from vllmctl.core.lifecycle import State
from vllmctl.core.observed import Cause, Facts, Member, Observed, Run
from vllmctl.core.plan import (
    Forget,
    KillRun,
    ResetCount,
    StartRun,
    StopRun,
    TuneRun,
    duration,
    plan,
)
from vllmctl.core.spec import Desired, Engine, Health, Instance, Log, Restart, RestartPolicy, Stop

M = instance()


# -- starting --------------------------------------------------------------------------------


def test_what_the_file_wants_is_started() -> None:
    decided = decide(M)
    assert decided.actions == (StartRun("m", M, 0, 0, "wanted by the file"),)
    assert status(decided).state is State.STARTING


def test_a_start_that_was_lost_is_decided_again() -> None:
    assert decide(M, Facts()) == decide(M, Facts(), now=NOW + 1)


def test_a_model_with_autostart_off_is_not_started() -> None:
    decided = decide(instance(policy={"autostart": False}))
    assert not decided.actions
    assert status(decided).state is State.STOPPED
    assert "vllmctl start m" in status(decided).sentence


def test_start_overrules_autostart() -> None:
    decided = decide(instance(policy={"autostart": False}), Facts(generation=1))
    assert [type(action) for action in decided.actions] == [StartRun]


def test_a_held_model_is_not_started() -> None:
    for facts in (
        Facts(held=True),
        Facts(held=True, generation=9),
        Facts(held=True, end=ended(M)),
        Facts(held=True, end=ended(M, this_boot=False)),
    ):
        decided = decide(M, facts)
        assert not decided.actions
        assert status(decided).state is State.STOPPED
        assert "stopped by hand" in status(decided).sentence


def test_a_model_that_was_held_and_is_no_longer_starts_with_a_count_of_zero() -> None:
    end = ended(M, cause=Cause.OPERATOR)
    (action,) = decide(M, Facts(end=end, attempt=4)).actions
    assert action == StartRun("m", M, 0, 0, "wanted again")


# -- living ----------------------------------------------------------------------------------


@pytest.mark.parametrize("run", [loading(M), serving(M)])
def test_a_healthy_unchanged_model_is_left_alone(run: Run) -> None:
    assert decide(M, Facts(run=run)).actions == ()


def test_a_changed_launch_replaces_the_run_and_says_what_changed() -> None:
    changed = instance(launch=launch(argv=("serve", "--port", "{port}", "--max-model-len", "9")))
    (action,) = decide(changed, Facts(run=serving(M))).actions
    assert action == StopRun(
        "m", "run-1", Cause.REPLACE, "its launch changed: args.max-model-len", M.policy.stop
    )
    # … and once it is gone, the new one starts with a count of zero.
    end = ended(M, cause=Cause.REPLACE)
    assert decide(changed, Facts(end=end, attempt=3)).actions == (
        StartRun("m", changed, 0, 0, "its launch changed"),
    )


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"env": (("HF_HOME", "/x"),)}, "env.HF_HOME"),
        ({"limits": (("nofile", 9),)}, "limits.nofile"),
        ({"gpus": (0, 1)}, "gpus"),
        ({"user": "vllm"}, "user"),
        ({"port": 8000, "workdir": "/tmp"}, "workdir, port"),
        ({"argv": ("other", "--port", "{port}")}, "command"),
        ({"argv": ("serve", "--port={port}", "--a", "b")}, "args.a"),
    ],
)
def test_the_reason_for_a_replacement_names_the_fields(
    changes: dict[str, object], said: str
) -> None:
    (action,) = decide(instance(launch=changes), Facts(run=serving(M))).actions
    assert isinstance(action, StopRun)
    assert action.why == f"its launch changed: {said}"


def test_a_changed_policy_touches_no_process() -> None:
    changed = instance(
        policy={
            "restart": Restart(policy=RestartPolicy.NEVER),
            "health": Health(interval=1),
            "stop": Stop(9, 1),
            "autostart": False,
            "depends_on": ("other",),
            "labels": ("x",),
        }
    )
    assert decide(changed, Facts(run=serving(M))).actions == ()


def test_a_changed_rotation_is_told_to_the_shim() -> None:
    changed = instance(policy={"log": Log(1000, 1)})
    for run in (loading(M), serving(M)):
        assert decide(changed, Facts(run=run)).actions == (TuneRun("m", "run-1", Log(1000, 1)),)
    assert decide(changed, Facts(run=stopping(M))).actions == ()


def test_a_restart_by_hand_stops_the_run_and_then_starts_it() -> None:
    (action,) = decide(M, Facts(run=serving(M), generation=1)).actions
    assert isinstance(action, StopRun)
    assert action.cause is Cause.RESTART
    end = ended(M, cause=Cause.RESTART)
    (action,) = decide(M, Facts(end=end, generation=1, attempt=5)).actions
    assert action == StartRun("m", M, 0, 1, "started by hand")


def test_a_stop_by_hand_stops_the_run() -> None:
    decided = decide(M, Facts(run=serving(M), held=True))
    (action,) = decided.actions
    assert action == StopRun("m", "run-1", Cause.OPERATOR, "stopped by hand", M.policy.stop)
    assert status(decided).sentence == "stopped by hand; killed in 30 s if it has not ended by then"


def test_a_stop_that_is_under_way_is_not_repeated() -> None:
    decided = decide(M, Facts(run=stopping(M), held=True))
    assert decided.actions == ()
    assert status(decided).state is State.STOPPING
    assert decided.wake_at == NOW + 20
    late = decide(M, Facts(run=stopping(M), held=True), now=NOW + 20)
    assert late.wake_at is None
    assert "being killed" in status(late).sentence


def test_a_removed_model_is_stopped_as_the_file_said_last() -> None:
    quickly = Stop(signal=2, grace=1.0)
    desired = Desired({}, 2, {"m": quickly})
    decided = plan(desired, Observed({"m": Facts(run=serving(M))}), NOW)
    (action,) = decided.actions
    assert isinstance(action, StopRun)
    assert action.stop == quickly
    assert "killed in 1 s" in status(decided).sentence


def test_a_removed_model_is_stopped_and_then_forgotten() -> None:
    decided = decide(None, Facts(run=serving(M)))
    assert decided.actions == (
        StopRun("m", "run-1", Cause.REMOVED, "it is no longer in the file", None),
    )
    assert status(decided).state is State.STOPPING
    assert decide(None, Facts(run=stopping(M))).actions == ()
    assert decide(None, Facts(run=replace(serving(M), sweeping=True))).actions == ()
    assert decide(None, Facts(end=ended(M, cause=Cause.REMOVED))).actions == (Forget("m"),)


def test_what_a_killed_shim_left_blocks_a_start() -> None:
    decided = decide(M, Facts(run=replace(serving(M), sweeping=True), generation=5))
    assert decided.actions == ()
    assert status(decided).state is State.STOPPING


def test_a_second_stop_kills_what_is_being_stopped_and_once_only() -> None:
    asked = Facts(run=stopping(M), held=True, hurried="run-1")
    decided = decide(M, asked)
    assert decided.actions == (KillRun("m", "run-1", "stopped by hand, and once more"),)
    assert "is being killed" in status(decided).sentence
    assert asked.run
    assert asked.run.stopping
    told = replace(asked.run, stopping=replace(asked.run.stopping, hurried=True))
    assert decide(M, replace(asked, run=told)).actions == ()


def test_a_second_stop_is_about_the_run_that_it_was_said_of() -> None:
    assert decide(M, Facts(run=stopping(M), held=True, hurried="run-0")).actions == ()


def test_a_leader_that_ended_and_left_members_is_seen_to_be_leaving() -> None:
    run = replace(serving(M), leader_ended_at=NOW - 0.05)
    decided = decide(M, Facts(run=run))
    assert status(decided).state is State.RUNNING  # as a rule the whole end is known at once
    assert decided.wake_at is not None
    later = decide(M, Facts(run=run), now=decided.wake_at)
    assert status(later).state is State.STOPPING
    assert status(later).sentence.startswith("its leader has ended; what is left of its process")


def test_members_that_cannot_be_killed_are_named_and_keep_port_and_gpus() -> None:
    stuck = (Member(4242, "python", "D"), Member(4243, "nvidia-smi", "t"))
    leaver = instance("old", engine=Engine.VLLM, launch={"port": 8000, "gpus": (0,)})
    comer = instance("new", launch={"port": 8000, "gpus": ()})
    run = replace(stopping(leaver), unkilled=stuck)
    decided = plan(Desired({"new": comer}), Observed({"old": Facts(run=run)}), NOW + 1e6)
    assert decided.actions == ()
    assert decided.statuses["old"].sentence.startswith(
        "2 processes cannot be killed: 4242 (python, uninterruptible sleep), "
        "4243 (nvidia-smi, held by a debugger); port and GPUs stay reserved"
    )
    assert decided.statuses["new"].state is State.WAITING


@pytest.mark.parametrize("resource", ["port", "gpus"])
def test_what_a_killed_shim_left_keeps_its_port_and_gpus(resource: str) -> None:
    launch = {"port": 8000, "gpus": (1,)} if resource == "port" else {"gpus": (0,)}
    leaver = instance("old", engine=Engine.VLLM, launch={"port": 8000, "gpus": (0,)})
    comer = instance("new", engine=Engine.VLLM, launch=launch)
    swept = Facts(run=replace(serving(leaver), sweeping=True))
    decided = plan(Desired({"new": comer}), Observed({"old": swept}), NOW)
    assert decided.actions == ()
    assert decided.statuses["new"].waits_for == "old"


def test_a_shutdown_stops_what_runs_and_starts_nothing() -> None:
    (action,) = decide(M, Facts(run=serving(M)), shutting_down=True).actions
    assert isinstance(action, StopRun)
    assert action.cause is Cause.SHUTDOWN
    for facts in (Facts(), Facts(end=ended(M)), Facts(generation=3)):
        assert decide(M, facts, shutting_down=True, now=NOW + 1e6).actions == ()


def test_what_a_shutdown_stopped_starts_again_with_the_next_daemon() -> None:
    (action,) = decide(M, Facts(end=ended(M, cause=Cause.SHUTDOWN), attempt=2)).actions
    assert isinstance(action, StartRun)
    assert action.attempt == 0


# -- deadlines and health --------------------------------------------------------------------


def test_a_start_is_given_up_at_start_timeout() -> None:
    limited = instance(policy={"health": Health(start_timeout=100, stall_timeout=1000)})
    run = loading(limited, started_at=NOW, progress_at=NOW)
    before = decide(limited, Facts(run=run), now=NOW + 99)
    assert before.actions == ()
    assert before.wake_at == NOW + 100
    decided = decide(limited, Facts(run=run), now=NOW + 100)
    (action,) = decided.actions
    assert isinstance(action, StopRun)
    assert action.cause is Cause.START_TIMEOUT
    assert status(decided).state is State.STOPPING


def test_a_start_without_progress_is_given_up_at_stall_timeout() -> None:
    limited = instance(policy={"health": Health(stall_timeout=60)})
    run = loading(limited, started_at=NOW, progress_at=NOW + 30)
    before = decide(limited, Facts(run=run), now=NOW + 89)
    assert before.actions == ()
    assert before.wake_at == NOW + 90
    (action,) = decide(limited, Facts(run=run), now=NOW + 90).actions
    assert isinstance(action, StopRun)
    assert action.cause is Cause.STALLED


def test_a_ready_model_knows_no_start_timeout() -> None:
    limited = instance(policy={"health": Health(start_timeout=1, stall_timeout=1)})
    decided = decide(limited, Facts(run=serving(limited)), now=NOW + 1e6)
    assert decided.actions == ()
    assert decided.wake_at is None


def test_the_sentence_of_a_start_tells_stage_percent_and_deadline() -> None:
    run = loading(M, stage="loading weights", percent=40.0)
    assert status(decide(M, Facts(run=run))).sentence == (
        "loading weights, 40 %; for 10 s, given up in 29 min 50 s at the latest"
    )


def test_a_failed_probe_is_told_but_changes_nothing() -> None:
    decided = decide(M, Facts(run=serving(M, failures=2, health_message="HTTP 503")))
    assert decided.actions == ()
    assert status(decided).state is State.RUNNING
    assert "2 probes failed in a row, 3 make it unhealthy: HTTP 503" in status(decided).sentence


def test_an_unhealthy_model_is_stopped_for_a_restart() -> None:
    run = serving(M, failures=3, health_message="HTTP 503", running_since=None)
    decided = decide(M, Facts(run=run))
    assert status(decided).state is State.UNHEALTHY
    (action,) = decided.actions
    assert isinstance(action, StopRun)
    assert action.cause is Cause.UNHEALTHY
    # … and its end counts as a failure.
    decided = decide(M, Facts(end=ended(M, cause=Cause.UNHEALTHY)))
    assert status(decided).state is State.BACKOFF


def test_an_unhealthy_model_with_restart_never_is_left_alone() -> None:
    stoic = instance(policy={"restart": Restart(policy=RestartPolicy.NEVER)})
    decided = decide(stoic, Facts(run=serving(stoic, failures=99)))
    assert decided.actions == ()
    assert status(decided).state is State.UNHEALTHY


# -- ended -----------------------------------------------------------------------------------


def test_backoff_wakes_exactly_when_the_restart_is_due() -> None:
    facts = Facts(end=ended(M))
    decided = decide(M, facts)
    assert decided.actions == ()
    assert decided.wake_at == NOW + 5
    assert status(decided).state is State.BACKOFF
    assert status(decided).next_at == NOW + 5
    assert status(decided).sentence == "it ended with exit code 1; restart 1 of 5 in 5 s"
    assert decide(M, facts, now=NOW + 4.999).actions == ()
    (action,) = decide(M, facts, now=NOW + 5).actions
    assert isinstance(action, StartRun)
    assert action.attempt == 1


def test_the_count_of_restarts_runs_up_to_fatal() -> None:
    attempt, now, waits = 0, NOW, []
    while True:
        facts = Facts(end=ended(M, at=now), attempt=attempt)
        decided = decide(M, facts, now=now)
        if decided.wake_at is None:
            break
        waits.append(decided.wake_at - now)
        now = decided.wake_at
        (action,) = decide(M, facts, now=now).actions
        assert isinstance(action, StartRun)
        attempt = action.attempt
    assert waits == [5, 10, 20, 40, 80]
    assert status(decided).state is State.FATAL
    assert "gave up after 5 restarts" in status(decided).sentence


def test_reset_after_of_running_gives_all_restarts_back() -> None:
    end = ended(M, running_since=NOW - 600)
    decided = decide(M, Facts(end=end, attempt=5))
    assert status(decided).state is State.BACKOFF
    assert "restart 1 of 5" in status(decided).sentence


def test_the_count_is_written_down_as_zero_the_moment_reset_after_is_over() -> None:
    run = serving(M, running_since=NOW)
    assert decide(M, Facts(run=run), now=NOW + 600).actions == ()
    early = decide(M, Facts(run=run, attempt=3), now=NOW + 599)
    assert early.actions == ()
    assert early.wake_at == NOW + 600
    due = decide(M, Facts(run=run, attempt=3), now=NOW + 600)
    assert due.actions == (ResetCount("m"),)
    assert status(due).attempt == 0


def test_fatal_stays_until_start() -> None:
    facts = Facts(end=ended(M, HOPELESS))
    decided = decide(M, facts, now=NOW + 1e9)
    assert status(decided).state is State.FATAL
    assert decided.actions == ()
    assert decided.wake_at is None
    assert status(decided).sentence == (
        "unrecognized arguments: --x; another try cannot help: correct `args:`; "
        "`vllmctl start m` tries again"
    )
    (action,) = decide(M, replace(facts, generation=1)).actions
    assert action == StartRun("m", M, 0, 1, "started by hand")


def test_a_corrected_definition_leaves_fatal() -> None:
    corrected = instance(launch={"argv": ("serve", "--right")})
    (action,) = decide(corrected, Facts(end=ended(M, HOPELESS))).actions
    assert isinstance(action, StartRun)


def test_a_clean_end_is_left_as_it_is() -> None:
    decided = decide(M, Facts(end=ended(M, CLEAN)), now=NOW + 1e9)
    assert decided.actions == ()
    assert status(decided).state is State.EXITED


def test_a_reboot_gives_a_fresh_start_but_holds_stay() -> None:
    for diagnosis in (CRASH, CLEAN, HOPELESS):
        end = ended(M, diagnosis, this_boot=False, at=-5000.0)
        (action,) = decide(M, Facts(end=end, attempt=5)).actions
        assert isinstance(action, StartRun)
        assert action.attempt == 0
        assert decide(M, Facts(end=end, held=True)).actions == ()
        off = instance(policy={"autostart": False})
        assert decide(off, Facts(end=end)).actions == ()


# -- waiting for others ----------------------------------------------------------------------

A = instance("a", launch={"gpus": (0,)})
B = instance("b", launch={"gpus": (1,)}, policy={"depends_on": ("a",)})


@pytest.mark.parametrize(
    ("facts", "state"),
    [
        (Facts(), "STARTING"),
        (Facts(run=loading(A)), "STARTING"),
        (Facts(run=serving(A, failures=3)), "UNHEALTHY"),
        (Facts(run=stopping(A)), "STOPPING"),
        (Facts(held=True), "STOPPED"),
        (Facts(end=ended(A)), "BACKOFF"),
        (Facts(end=ended(A, CLEAN)), "EXITED"),
        (Facts(end=ended(A, HOPELESS)), "FATAL"),
    ],
)
def test_a_model_waits_until_what_it_depends_on_is_running(facts: Facts, state: str) -> None:
    decided = decide((A, B), {"a": facts})
    assert "b" not in [action.name for action in decided.actions]
    assert status(decided, "b").state is State.WAITING
    assert status(decided, "b").sentence.startswith(f"waits for a, which is {state}")


def test_a_model_starts_once_what_it_depends_on_is_running() -> None:
    (action,) = decide((A, B), {"a": Facts(run=serving(A))}).actions
    assert action.name == "b"


def test_a_model_depends_on_every_replica() -> None:
    second = replace(A, name="a:2")
    decided = decide((A, second, B), {"a": Facts(run=serving(A)), "a:2": Facts(run=loading(A))})
    assert status(decided, "b").sentence.startswith("waits for a:2, which is STARTING")


def test_a_running_model_stays_when_what_it_depends_on_goes() -> None:
    decided = decide((A, B), {"a": Facts(end=ended(A)), "b": Facts(run=serving(B))})
    assert decided.actions == ()


def engine(name: str, gpus: tuple[int, ...] | None, kind: Engine = Engine.VLLM) -> Instance:
    return instance(name, engine=kind, launch={"gpus": gpus})


@pytest.mark.parametrize(
    ("first", "second", "waits"),
    [
        (engine("a", (0,)), engine("b", (0,)), True),
        (engine("a", (0, 1)), engine("b", (1, 2)), True),
        (engine("a", None), engine("b", (1,)), True),
        (engine("a", None), engine("b", None), True),
        (engine("a", (0,)), engine("b", (1,)), False),
        (engine("a", ()), engine("b", ()), False),
        (engine("a", ()), engine("b", None), False),
        (engine("a", (0,), Engine.SIMULATOR), engine("b", (0,)), False),
        (engine("a", (0,)), engine("b", (0,), Engine.COMMAND), False),
    ],
)
def test_vllm_engines_take_turns_loading_on_a_gpu(
    first: Instance, second: Instance, waits: bool
) -> None:
    for facts in (Facts(), Facts(run=loading(first))):
        decided = decide((first, second), {"a": facts})
        state = State.WAITING if waits else State.STARTING
        assert status(decided, "b").state is state
    if waits:
        assert "its turn to load: a is loading" in status(decided, "b").sentence
    ready = decide((first, second), {"a": Facts(run=serving(first))})
    assert status(ready, "b").state is State.STARTING


def test_a_later_model_that_loads_already_makes_an_earlier_one_wait() -> None:
    decided = decide((engine("a", (0,)), engine("b", (0,))), {"b": Facts(run=loading(A))})
    assert status(decided, "a").state is State.WAITING
    assert decided.actions == ()


def test_a_fixed_port_is_not_used_until_who_had_it_has_stopped() -> None:
    old = instance("old", launch={"port": 8000, "gpus": (0,)})
    new = instance("new", launch={"port": 8000, "gpus": (1,)})
    for run in (serving(old), stopping(old, Cause.REMOVED)):
        decided = decide(new, {"old": Facts(run=run)})
        assert status(decided, "new").state is State.WAITING
        assert status(decided, "new").sentence.startswith("waits for port 8000: old has it until")
    assert decide(new, {"old": Facts(end=ended(old))}).actions[0].name == "new"


def test_two_models_that_swap_their_ports_are_both_replaced() -> None:
    a, b = instance("a", launch={"port": 1, "gpus": ()}), instance("b", launch={"port": 2})
    swapped = (replace(a, launch=launch(port=2, gpus=())), replace(b, launch=launch(port=1)))
    runs = {"a": Facts(run=serving(a)), "b": Facts(run=serving(b))}
    assert [type(action) for action in decide(swapped, runs).actions] == [StopRun, StopRun]
    gone = {"a": Facts(end=ended(a)), "b": Facts(run=stopping(b, Cause.REPLACE))}
    assert status(decide(swapped, gone), "a").state is State.WAITING
    gone["b"] = Facts(end=ended(b))
    assert [type(action) for action in decide(swapped, gone).actions] == [StartRun, StartRun]


def test_an_engine_waits_for_the_gpu_memory_of_one_that_is_leaving() -> None:
    old, new = engine("old", (0, 1)), engine("new", (1,))
    decided = decide(new, {"old": Facts(run=stopping(old, Cause.REMOVED))})
    assert status(decided, "new").state is State.WAITING
    assert "old has some until it has stopped" in status(decided, "new").sentence
    other = decide(engine("new", (2,)), {"old": Facts(run=stopping(old, Cause.REMOVED))})
    assert status(other, "new").state is State.STARTING


# -- words -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-3, "0.0 s"),
        (0.44, "0.4 s"),
        (0.94, "0.9 s"),
        (0.96, "1 s"),
        (59.4, "59 s"),
        (59.6, "1 min"),
        (200, "3 min 20 s"),
        (3600, "1 h"),
        (7500, "2 h 5 min"),
        (1e6, "277 h 46 min"),
    ],
)
def test_durations_read_well(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_an_automatic_port_must_not_be_one_that_the_file_gives_to_another() -> None:
    auto = instance("auto")
    fixed = replace(instance("fixed"), launch=replace(instance("fixed").launch, port=8000))
    decided = plan(Desired({"auto": auto, "fixed": fixed}), Observed({}), 0.0)
    start = next(action for action in decided.actions if action.name == "auto")
    assert isinstance(start, StartRun)
    assert start.avoid == {8000}
