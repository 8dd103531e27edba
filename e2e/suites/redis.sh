# The Redis protocol: redis-cli, redis-py, ioredis, node-redis, fred and what JetKV sends; a short differential run for each family against a real Redis 7; and
# kill -9 under load. The long differential run is `python3 e2e/redis/differential`.
. "$(dirname "$0")/../lib.sh"
here=$(cd "$(dirname "$0")/../redis" && pwd)
for program in redis-server redis-cli redis-benchmark node npm python3; do
    command -v $program >/dev/null || { echo "FAILED: this suite needs $program (Debian: redis-server, redis-tools)"; exit 1; }
done

node_clients "$here"/clients/*.json "$here"/clients/*.mjs
python_clients "$here/clients/requirements.txt"

root=$(cd "$here/../.." && pwd)
cargo build -q --locked --manifest-path "$here/fred/Cargo.toml" --target-dir "$root/target/e2e-fred"

start --memory
port=${address##*:}
cli() { redis-cli -p "$port" "$@"; }
echo "$(redis-cli --version)"
is ping PONG "$(cli ping)"
is set OK "$(cli set apple red)"
is "curl sees it" red "$(curl -s "$address/v1/kv/apple")"
is "and writes" 200 "$(curl -s -o /dev/null -w '%{http_code}' "$address/put?pear=green")"
is "redis-cli sees that" green "$(cli get pear)"
is "RESP3" "$(printf '1# "a" => "1"')" "$(cli -3 hset h a 1 >/dev/null; cli -3 --no-raw hgetall h)"
is "a pipe" "replies: 3" "$(printf 'SET a 1\r\nINCR a\r\nGET a\r\n' | cli --pipe | sed -n 's/^errors: 0, //p')"
is "--scan" "$(printf 'a\napple\nh\npear')" "$(cli --scan | sort)"
is "inline" 2 "$(printf 'GET a\r\nQUIT\r\n' | timeout 5 bash -c "exec 9<>/dev/tcp/127.0.0.1/$port; cat >&9; cat <&9" | tr -d '\r' | sed -n 2p)"
is "--bigkeys" 1 "$(cli --bigkeys | grep -c 'Sampled 4 keys')"
is "HTTP is no command" 404 "$(curl -s -o /dev/null -w '%{http_code}' "$address/FLUSHALL")"
is "errors" "ERR unknown command 'NOSUCH', with args beginning with: 'x' " "$(cli NOSUCH x)"
run "redis-py in $("$work/python/bin/python" --version)" "$work/python/bin/python" "$here/clients/session.py"
run "ioredis in Node $(node --version)" node "$work/npm/session.mjs"
run "redis-py: asyncio, pools, caching, threads" "$work/python/bin/python" "$here/clients/strangers.py"
run "what JetKV sends" "$work/python/bin/python" "$here/clients/jetkv.py"
run "ioredis and node-redis: reconnecting, caching, pools" node "$work/npm/strangers.mjs"
run "fred" "$root/target/e2e-fred/debug/fred-session" "$address"
run "redis-benchmark" bash -c "redis-benchmark -p $port -n 2000 -P 16 -q -t ping,set,get,incr,lpush,rpush,lpop,rpop,sadd,hset,spop,zadd,zpopmin,lrange_100,mset && echo 1 checks"
stop TERM

run "kill -9 under load" python3 "$here/clients/kill_under_load.py" "$ORCHARD" "$work/killed"

# Redis against itself with a fault: the tester must see it.
if python3 "$here/differential" --orchard redis --fault state --family strings --protocol 2 --commands 4000 >"$work/said" 2>&1; then
    echo "FAILED: the differential tester did not see a lost write"
    exit 1
fi
checks=$((checks + 1))
compared() {
    timeout 100 python3 "$here/differential" --orchard "$ORCHARD" --seed 7 --commands 400 "$@" >"$work/said" 2>&1 || { tail -60 "$work/said"; exit 1; }
    cat "$work/said"
    checks=$((checks + $(wc -l <"$work/said")))
}
compared
compared --data --protocol 3 --family strings --family keys --family lists --family hashes --family sets --family zsets --family transactions
echo "$checks checks"
