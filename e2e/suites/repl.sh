# `orchard repl` on a pseudo-terminal, on a directory and on a server.
. "$(dirname "$0")/../lib.sh"

if ! command -v python3 >/dev/null; then
    echo "there is no python3 here: left out"
    exit 0
fi
session="$(dirname "$0")/../terminal/repl.py"
python3 "$session" "$ORCHARD" --data "$work/directory"
start --data "$work/data"
python3 "$session" "$ORCHARD" --url "http://$address"
