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

# Clients as they come from their registries, outside the tree: node_clients FILE.. (package.json and its lock among them)
# installs into $work/npm, python_clients REQUIREMENTS into $work/python.
node_clients() {
    mkdir "$work/npm"
    cp "$@" "$work/npm/"
    npm install --prefix "$work/npm" --no-audit --no-fund --silent >>"$work/log" 2>&1 || { tail -20 "$work/log"; exit 1; }
}

python_clients() {
    python3 -m venv "$work/python"
    "$work/python/bin/pip" install -q --disable-pip-version-check -r "$1"
}

# run WHAT COMMAND..: it has $ADDRESS, and says "N checks".
run() {
    echo "$1"
    shift
    ADDRESS=$address timeout 60 "$@" >"$work/said" 2>&1 || { tail -40 "$work/said"; exit 1; }
    count=$(sed -n 's/^\([0-9]*\) checks$/\1/p' "$work/said")
    [ -n "$count" ] || { echo "FAILED: it counted no checks"; tail -40 "$work/said"; exit 1; }
    echo "$count checks"
    checks=$((checks + count))
}

# is WHAT EXPECTED ACTUAL
is() {
    checks=$((checks + 1))
    [ "$2" = "$3" ] && return
    printf 'FAILED %s\n  expected: %s\n  actual:   %s\n' "$1" "$2" "$3"
    exit 1
}
