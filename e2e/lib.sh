# What the suites share. Source it; needs $ORCHARD, the binary.
set -euo pipefail
work=$(mktemp -d)
server=
checks=0

# Starts a server with these flags and waits for its "Listening on"; sets $address and $server.
start() {
    : >"$work/out"
    "$ORCHARD" serve --listen 127.0.0.1:0 "$@" >"$work/out" 2>"$work/log" &
    server=$!
    # The line is the event; tail ends with the server.
    line=$(timeout 60 tail -f -n +1 --pid="$server" "$work/out" | grep -m 1 '^Listening on ') ||
        { echo "the server did not start:"; cat "$work/log"; return 1; }
    address=${line#Listening on }
}

stop() {
    kill "-$1" "$server" 2>/dev/null || true
    status=0
    wait "$server" 2>/dev/null || status=$?
    server=
}

finish() {
    [ -n "$server" ] && stop KILL
    rm -rf "$work"
}
trap finish EXIT

# is WHAT EXPECTED ACTUAL
is() {
    checks=$((checks + 1))
    [ "$2" = "$3" ] && return
    printf 'FAILED %s\n  expected: %s\n  actual:   %s\n' "$1" "$2" "$3"
    exit 1
}
