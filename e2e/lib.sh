# What the suites share. Source it; needs $ORCHARD, the binary.
set -euo pipefail
work=$(mktemp -d)
server=
checks=0

# Starts a server with these flags and waits for its "Listening on"; sets $address and $server.
start() {
    rm -f "$work/out"
    mkfifo "$work/out"
    "$ORCHARD" serve --listen 127.0.0.1:0 "$@" >"$work/out" 2>>"$work/log" &
    server=$!
    exec 3<"$work/out"
    line=
    while read -r line <&3; do
        case "$line" in "Listening on "*) break ;; esac
    done
    [ -n "$line" ] || { echo "the server did not start:"; cat "$work/log"; return 1; }
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
