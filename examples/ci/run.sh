#!/usr/bin/env bash
# One step of a pipeline: start the models, wait until they are ready, run a client, end everything.
#
#   run.sh                        the models of models.yaml, and client.py, both beside this file
#   run.sh pytest tests/api       another client; it finds CHAT_URL and EMBED_URL in its environment
#
# The exit code is the client's; or vllmctl's, where the models do not get that far: 5 for a wrong
# models.yaml, 1 for a model that failed, 6 for one that was not ready in time. A step that fails
# says why on the screen, and leaves logs, events and the last status in $ARTEFACTS. Nothing is left
# running, whatever happens, also when the job is cancelled.
#
# Set these to change them:
here=$(cd "$(dirname "$0")" && pwd)
MODELS=${MODELS:-$here/models.yaml}
START_TIMEOUT=${START_TIMEOUT:-2m}       # real models need longer: 30m
ARTEFACTS=${ARTEFACTS:-vllmctl-logs}

set -euo pipefail
if [ $# = 0 ]; then set -- python3 "$here/client.py"; fi

VLLMCTL_STATE_DIR=$(mktemp -d)           # this job's own: another one may run beside it
export VLLMCTL_STATE_DIR VLLMCTL_CONFIG="$MODELS"

# Run a command so that a signal to this script is answered now, not when the command has ended.
child=
cancelled=
run() {
    "$@" &
    child=$!
    local code=0
    wait "$child" || code=$?
    child=
    return "$code"
}

# A value of `vllmctl status --json`, by a Python expression on its "models".
models() {
    vllmctl status --json "${@:2}" | python3 -c "
import json, sys
models = json.load(sys.stdin)['models']
print($1)"
}

diagnose() {
    local name
    echo "--- failed; logs are in $ARTEFACTS"
    vllmctl status || return 0           # no daemon: what went wrong has been said
    mkdir -p "$ARTEFACTS"
    vllmctl status --json >"$ARTEFACTS/status.json"
    for name in $(models "*(m['name'] for m in models)"); do
        echo "--- vllmctl explain $name"
        vllmctl explain "$name"
        echo "--- vllmctl tail -n 50 $name"
        vllmctl tail -n 50 "$name"
    done
}

finish() {
    local code=$?
    trap '' INT TERM HUP                 # what follows is short, and has to be done
    trap - EXIT
    set +e
    if [ -n "$child" ]; then kill -TERM "$child" 2>/dev/null; fi
    if [ "$code" != 0 ] && [ -z "$cancelled" ]; then diagnose >&2; fi
    if [ -S "$VLLMCTL_STATE_DIR/vllmctl.sock" ]; then vllmctl shutdown; fi
    if [ -n "$child" ]; then kill -KILL "$child" 2>/dev/null; fi
    if [ "$code" != 0 ]; then
        mkdir -p "$ARTEFACTS"
        cp -R "$VLLMCTL_STATE_DIR"/{logs,events.jsonl,daemon.log} "$ARTEFACTS" 2>/dev/null
    fi
    rm -rf "$VLLMCTL_STATE_DIR"
    exit "$code"
}
trap finish EXIT
trap 'cancelled=yes; exit 130' INT
trap 'cancelled=yes; exit 143' TERM
trap 'cancelled=yes; exit 129' HUP

vllmctl validate
# The daemon first, and this alone is not interrupted: half started, it could not be told to end.
(trap '' INT TERM HUP; exec vllmctl start --no-wait)
run vllmctl start --timeout "$START_TIMEOUT"

CHAT_URL=$(models 'models[0]["url"] + "/v1"' chat)
EMBED_URL=$(models 'models[0]["url"] + "/v1"' embed)
export CHAT_URL EMBED_URL
run "$@"
