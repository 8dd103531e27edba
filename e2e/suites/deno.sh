# Deno, @deno/kv in Node and denokv in Python, each against a fresh server; then a token, and a restart below an open client.
. "$(dirname "$0")/../lib.sh"
for program in node npm python3; do
    command -v $program >/dev/null || { echo "FAILED: this suite needs $program"; exit 1; }
done
here=$(cd "$(dirname "$0")/.." && pwd)
export DENO_KV_ACCESS_TOKEN=anything TZ=UTC DENO_DIR="$work/deno" DENO_NO_UPDATE_CHECK=1 NO_COLOR=1

node_clients "$here"/node/*
python_clients "$here/python/requirements.txt"
deno() { node "$work/npm/node_modules/deno/bin.cjs" "$@"; }

start --data "$work/one"
run "Deno $(deno --version | sed -n 's/^deno \([^ ]*\).*/\1/p')" \
    node "$work/npm/node_modules/deno/bin.cjs" run --no-check --unstable-kv --allow-net --allow-env "$here/deno/suite.ts"
stop TERM
start --data "$work/two"
run "@deno/kv in Node $(node --version)" node "$work/npm/suite.mjs"
stop TERM
start --data "$work/three"
run "denokv in $("$work/python/bin/python" --version)" "$work/python/bin/python" "$here/python/suite.py"
stop TERM

# With an access token, which the token of the metadata is, too.
printf secret >"$work/token"
start --data "$work/four" --access-token-file "$work/token"
cat >"$work/token.ts" <<'TS'
const kv = await Deno.openKv(`http://${Deno.env.get("ADDRESS")}`);
await kv.set(["a"], 1);
console.log((await kv.get(["a"])).value);
kv.close();
TS
as() { ADDRESS=$address DENO_KV_ACCESS_TOKEN=$1 deno run --no-check --unstable-kv --allow-net --allow-env "$work/token.ts" 2>&1; }
is "with the token" 1 "$(as secret)"
is "without it" 1 "$(as other | grep -c 'status.*401')"
is "data without it" 401 "$(curl -s -o /dev/null -w '%{http_code}' -X POST "$address/kv-connect/0/atomic_write")"
stop TERM

# Deno's local file, moved over.
if "$ORCHARD" import --from denokv --data "$work/five" /dev/null 2>&1 | grep -q "without SQLite"; then
    echo "this orchard was built without --features denokv-import: the import is not checked"
else
    cat >"$work/local.ts" <<'TS'
const kv = await Deno.openKv(Deno.args[0]);
await kv.set(["fruit", "plum"], new Map([["colour", "blue"]]));
const [a, b] = [(await kv.set(["a"], 1)).versionstamp, (await kv.set(["b"], 2n)).versionstamp];
await kv.enqueue("later", { delay: 3_600_000 });
console.log(a < b);
kv.close();
TS
    cat >"$work/moved.ts" <<'TS'
const kv = await Deno.openKv(`http://${Deno.env.get("ADDRESS")}`);
const [a, b] = await kv.getMany([["a"], ["b"]]);
console.log((await kv.get<Map<string, string>>(["fruit", "plum"])).value!.get("colour"), a.value, b.value, a.versionstamp! < b.versionstamp!);
kv.close();
TS
    is "a local file" true "$(deno run --no-check --unstable-kv -A "$work/local.ts" "$work/kv.sqlite")"
    rm -rf "$work/five"
    is "the import" "imported 3 entries and 1 queued messages" "$("$ORCHARD" import --from denokv --data "$work/five" "$work/kv.sqlite" 2>&1 | tail -1)"
    start --data "$work/five"
    is "what was moved" "blue 1 2n true" "$(ADDRESS=$address deno run --no-check --unstable-kv -A "$work/moved.ts")"
    stop TERM
fi
echo "$checks checks"
