#!/usr/bin/env bash
# Several hosts on one machine, each a network namespace with a name and an address of its own, and Open MPI between
# them; one of them is cut off while a run goes on.
#
#     cargo build --release --features mpi
#     sudo tools/scale/several_hosts.sh WORK [PROGRAM]
#
# WORK is an empty folder that all "hosts" see, as they would a shared disk. The script shows that
#   - a run over 2 and 3 hosts has the weights of one process, bit for bit;
#   - when the network of a host goes away, the run ends by itself, naming the rank and its host;
#   - `--resume` on another number of hosts gives the weights of a run that was never disturbed.
# It needs iproute2, Open MPI, and the right to make network namespaces. It ends with code 1 if something is wrong.
set -euo pipefail
work=$(realpath -m "${1:?give an empty folder}")
program=$(realpath "${2:-target/release/fewstep}")
hosts=3
timeout=10
mkdir -p "$work"
failed=0
check() { if eval "$2"; then echo "ok    $1"; else echo "FAIL  $1"; failed=1; fi; }

remove() {
    for i in $(seq $hosts); do
        ip link del "fewveth$i" 2>/dev/null || true
        ip netns del "fewhost$i" 2>/dev/null || true
    done
    ip link del fewbridge 2>/dev/null || true
}
trap remove EXIT
remove
ip link add fewbridge type bridge
ip link set fewbridge up
for i in $(seq $hosts); do
    ip netns add "fewhost$i"
    ip link add "fewveth$i" type veth peer name eth0 netns "fewhost$i"
    ip link set "fewveth$i" master fewbridge up
    ip -n "fewhost$i" addr add "10.77.0.$i/24" dev eth0
    ip -n "fewhost$i" link set eth0 up
    ip -n "fewhost$i" link set lo up
    # Else mpirun waits a quarter of an hour for what it has sent to a host that is gone, after all ranks have ended.
    ip netns exec "fewhost$i" sh -c 'echo 5 > /proc/sys/net/ipv4/tcp_retries2'
done
# What mpirun starts its daemons with, in place of ssh.
agent=$work/agent.sh
cat > "$agent" <<'AGENT'
#!/bin/sh
host=$1; shift
name=fewhost${host##*.}
exec ip netns exec "$name" unshare --uts sh -c "hostname $name; $*"
AGENT
chmod +x "$agent"
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 XDG_CACHE_HOME=$work/cache

# The program as one process on each of so many hosts; mpirun itself is on the first.
together() {
    local on=() i; for i in $(seq "$1"); do on+=("10.77.0.$i:1"); done; shift
    ip netns exec fewhost1 unshare --uts sh -c 'hostname fewhost1; exec "$@"' - \
        mpirun --mca plm_rsh_agent "$agent" --mca btl_tcp_if_include eth0 --mca oob_tcp_if_include eth0 --mca btl tcp,self \
        --host "$(IFS=,; echo "${on[*]}")" --bind-to none "$program" "$@" --threads 1
}
recipe=$(realpath "$(dirname "$0")")/small_teacher.toml
weights() { sha256sum < "$work/$1/models/teacher/unet/diffusion_pytorch_model.safetensors" 2>/dev/null || echo "none of $1"; }

"$program" train "$recipe" --out "$work/alone" --threads 1 > "$work/alone.log" 2>&1
for n in 2 3; do
    together $n train "$recipe" --out "$work/hosts-$n" > "$work/hosts-$n.log" 2>&1
    check "$n hosts train to the weights of one process" '[ "$(weights alone)" = "$(weights hosts-$n)" ]'
done

# A host is cut off after the first checkpoint.
long=(--set updates=100000 --rank-timeout $timeout)
together 3 train "$recipe" --out "$work/cut" "${long[@]}" > "$work/cut.log" 2>&1 &
run=$!
for _ in $(seq 600); do if [ -n "$(ls "$work/cut/checkpoints" 2>/dev/null)" ]; then break; fi; sleep 0.1; done
ip link set fewveth3 down
cut=$(date +%s.%N)
code=0; wait $run || code=$?
seconds=$(echo "$(date +%s.%N) - $cut" | bc)
echo "      the run ended $seconds s after the cut, with code $code, and said:"
sed 's/^/      | /' "$work/cut.log" | grep -v '^      | *$' | tail -n 12
check "the run ended with an error" '[ "$code" != 0 ]'
check "the host that was cut off is named" 'grep -q "rank 2 on fewhost3" "$work/cut.log"'
left() { pgrep -f -- "--out $work/cut" | while read -r pid; do tr "\0" " " < "/proc/$pid/cmdline" | grep -q "^$program" && echo "$pid"; done; }
for _ in $(seq 60); do [ -z "$(left)" ] && break; sleep 1; done
seconds=$(echo "$(date +%s.%N) - $cut" | bc)
check "no process is left, on the cut host either, $seconds s after the cut" '[ -z "$(left)" ]'

# It goes on, on what is left and then alone, as if nothing had happened.
done=$(ls "$work/cut/checkpoints" | sed 's/-.*//' | sort -n | tail -n 1)
updates=$((10#$done / 96 + 20))
together 2 train "$recipe" --out "$work/cut" --resume --set updates=$updates > "$work/again.log" 2>&1
"$program" train "$recipe" --out "$work/whole" --set updates=$updates --threads 1 > "$work/whole.log" 2>&1
check "resumed on 2 hosts, the weights are those of a run that was not disturbed ($updates updates)" '[ "$(weights cut)" = "$(weights whole)" ]'
exit $failed
