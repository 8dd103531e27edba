# A sync comes before the reply, of its own (fdatasync) or with the write (RWF_DSYNC): seen with strace.
. "$(dirname "$0")/../lib.sh"

if ! strace -o "$work/probe" true 2>/dev/null; then
    echo "strace may not trace here: left out"
    exit 0
fi
start --data "$work/data"
strace -f -q -tt -e trace=fdatasync,fsync,pwritev2,write,writev,sendto,sendmsg -o "$work/trace" -p "$server" &
tracer=$!
# strace is attached once it has written its first line; provoke lines until then.
until [ -s "$work/trace" ]; do curl -s "$address/put?warm=up" >/dev/null; done
curl -s "$address/put?traced=yes" >/dev/null
kill "$tracer"
wait "$tracer" 2>/dev/null || true
reply=$(grep -n 'KEY: traced' "$work/trace" | head -n 1 | cut -d: -f1)
[ -n "$reply" ] || { echo "no reply in the trace"; exit 1; }
# The last sync before the reply must lie behind the reply of the request before.
earlier=$(head -n $((reply - 1)) "$work/trace" | grep -n 'HTTP/1.1 200' | tail -n 1 | cut -d: -f1)
sync='f(data)?sync(\(|.*resumed).* = 0|pwritev2(\(.*RWF_DSYNC|.*resumed).* = [1-9]'
synced=$(head -n $((reply - 1)) "$work/trace" | grep -nE "$sync" | tail -n 1 | cut -d: -f1)
is "a sync stands between the replies" yes "$([ "${synced:-0}" -gt "${earlier:-0}" ] && echo yes || echo no)"
echo "$checks checks"
