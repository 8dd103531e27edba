# The README's curl session, kill -9, and again.
. "$(dirname "$0")/../lib.sh"

start --data "$work/data"
is put "[INFO] (PUT) KEY: key2 VALUE: baz" "$(curl -s "$address/put?key2=baz")"
is get "[INFO] (GET) KEY: key2 VALUE: baz" "$(curl -s "$address/get/key2")"
is delete "[INFO] (DELETE) KEY: key2" "$(curl -s "$address/delete/key2")"
is "get after delete" 404 "$(curl -s -o /dev/null -w '%{http_code}' "$address/get/key2")"
is "two pairs" 200 "$(curl -s -o /dev/null -w '%{http_code}' "$address/put?a=1&b=2")"
is malformed 400 "$(curl -s -o /dev/null -w '%{http_code}' "$address/put?")"

stop KILL
start --data "$work/data"
is "a after kill -9" "[INFO] (GET) KEY: a VALUE: 1" "$(curl -s "$address/get/a")"
is "b after kill -9" "[INFO] (GET) KEY: b VALUE: 2" "$(curl -s "$address/get/b")"

curl -s -X PUT -H 'content-type: application/json' --data '{"name":"Ada"}' "$address/v1/kv/users/ada" >/dev/null
is "json by path" '{"name":"Ada"}' "$(curl -s "$address/v1/kv/users/ada")"
etag=$(curl -s -D - -o /dev/null "$address/v1/kv/users/ada" | tr -d '\r' | sed -n 's/^etag: //ip')
is "if-match, stale" 412 "$(curl -s -o /dev/null -w '%{http_code}' -X PUT -H 'if-match: "00000000000000000001"' --data x "$address/v1/kv/users/ada")"
is "if-match, right" 200 "$(curl -s -o /dev/null -w '%{http_code}' -X PUT -H "if-match: $etag" --data x "$address/v1/kv/users/ada")"
is "create only" 412 "$(curl -s -o /dev/null -w '%{http_code}' -X PUT -H 'if-none-match: *' --data x "$address/v1/kv/users/ada")"
is "h2c by prior knowledge" 200 "$(curl -s --http2-prior-knowledge -o /dev/null -w '%{http_code}' "$address/v1/kv/users/ada")"

is "foreign origin" 403 "$(curl -s -o /dev/null -w '%{http_code}' -H 'Origin: https://evil.example' "$address/put?x=1")"
is "cross-site fetch" 403 "$(curl -s -o /dev/null -w '%{http_code}' -H 'Sec-Fetch-Site: cross-site' "$address/put?x=1")"
is "foreign host" 403 "$(curl -s -o /dev/null -w '%{http_code}' -H 'Host: evil.example' "$address/get/a")"
is "nothing was written" 404 "$(curl -s -o /dev/null -w '%{http_code}' "$address/get/x")"
is ready 200 "$(curl -s -o /dev/null -w '%{http_code}' "$address/readyz")"

stop TERM
is "exit code of SIGTERM" 0 "$status"
echo "$checks checks"
