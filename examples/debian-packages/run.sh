#!/usr/bin/env bash
# Imports Debian's package index, kills the server with SIGKILL in the middle, resumes, and compares the export with
# the import byte for byte. Needs apt-cache with filled lists (apt-get update), python3, cargo.
#
#   examples/debian-packages/run.sh            the machine's package index
#   examples/debian-packages/run.sh DUMP       a saved `apt-cache dumpavail`
#
# ORCHARD names the binary; unset: cargo builds it.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
if [ -z "${ORCHARD:-}" ]; then
    cargo build --release --quiet --manifest-path "$here/../../Cargo.toml" -p orchard-cli
    ORCHARD=${CARGO_TARGET_DIR:-$here/../../target}/release/orchard
fi
work=$(mktemp -d)
server=
address=127.0.0.1:0
cleanup() {
    if [ -n "$server" ]; then kill -9 "$server" 2>/dev/null || true; fi
    rm -rf "$work"
}
trap cleanup EXIT

# Serves $work/data: on a free port the first time, later on the same one. Sets `server` and ORCHARD_URL.
serve() {
    rm -f "$work/ready"
    mkfifo "$work/ready"
    "$ORCHARD" serve --data "$work/data" --listen "$address" --log-level warn > "$work/ready" &
    server=$!
    local line
    read -r line < "$work/ready"
    address=${line#Listening on }
    export ORCHARD_URL="http://$address"
}

if [ $# -gt 0 ]; then cat "$1"; else apt-cache dumpavail; fi | python3 "$here/packages_to_ndjson.py" > "$work/in.ndjson"
total=$(wc -l < "$work/in.ndjson")
echo "$total packages, $(wc -c < "$work/in.ndjson") bytes"

serve
echo "importing; the server is killed when half of it is there"
"$ORCHARD" import --resume "$work/in.ndjson" 2> "$work/report" &
import=$!
middle=$(sed -n "$((total / 2))p" "$work/in.ndjson" | python3 -c 'import json, sys; print(json.dumps(json.load(sys.stdin)["key"]))')
until "$ORCHARD" get "$middle" > /dev/null 2>&1; do
    kill -0 "$import" 2> /dev/null || break
done
{ kill -9 "$server"; wait "$server" || true; } 2> /dev/null
server=
if wait "$import"; then
    echo "the import was faster than the kill"
else
    cat "$work/report"
fi

serve
echo "started again: $("$ORCHARD" scan --prefix debian --keys-only | wc -l) packages are there"
"$ORCHARD" import --resume "$work/in.ndjson"

echo "packages from orca to orchid:"
"$ORCHARD" scan --start '["debian","orca"]' --end '["debian","orchie"]' --keys-only

"$ORCHARD" export - --prefix debian --no-versionstamps > "$work/out.ndjson"
cmp "$work/in.ndjson" "$work/out.ndjson"
echo "the export is the import, byte for byte"

kill -TERM "$server"
wait "$server"
server=
"$ORCHARD" check --data "$work/data"
