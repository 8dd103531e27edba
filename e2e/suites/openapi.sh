# schemathesis reads /openapi.json and sends what it allows and what it does not: no 5xx, and no reply that is not
# described there. Left out: the feeds, which never end, leases, which may wait for a minute, and Deno's protocol.
. "$(dirname "$0")/../lib.sh"

command -v python3 >/dev/null || { echo "no python3: left out"; exit 0; }
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q --disable-pip-version-check schemathesis==4.32.5

start --memory
# It keeps what it found in the directory that it runs in.
(cd "$work" && exec timeout 300 "$work/venv/bin/schemathesis" --no-color run "http://$address/openapi.json" \
    --checks not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance \
    --exclude-path-regex '(^/$|^/kv-connect|^/v1/(changes|watch)$|/lease$)' \
    --phases examples,coverage,fuzzing --max-examples 10 --max-time 60 \
    --seed 4206 --request-timeout 10) >"$work/report" 2>&1 || { tail -n 80 "$work/report"; exit 1; }
tail -n 12 "$work/report"
is "still ready" 200 "$(curl -s -o /dev/null -w '%{http_code}' "$address/readyz")"
stop TERM
is "exit code of SIGTERM" 0 "$status"
echo "$checks checks"
