#!/usr/bin/env bash
# SLURM with two nodes on one machine, and the scripts of deploy/ on it.
#
#     apt-get install slurm-wlm munge openmpi-bin
#     cargo build --release --features mpi
#     sudo tools/scale/slurm_on_one_machine.sh WORK [PROGRAM]
#
# WORK is an empty folder. The script shows that
#   - `srun` starts ranks whose run has the weights of one process, bit for bit;
#   - a job array makes the images of one process, and `merge` takes them;
#   - a job of `train.sbatch` that a job of a higher partition pre-empts writes a checkpoint, is queued again, goes on,
#     and ends with the weights of a run that was never disturbed.
# No systemd is needed; the daemons end with the script. It ends with code 1 if something is wrong.
set -euo pipefail
here=$(cd "$(dirname "$0")/../.." && pwd)
work=$(realpath -m "${1:?give an empty folder}")
program=$(realpath "${2:-$here/target/release/fewstep}")
failed=0
check() { if eval "$2"; then echo "ok    $1"; else echo "FAIL  $1"; failed=1; fi; }

mkdir -p "$work"/{log,spool/n1,spool/n2,state,bin} /run/munge
chown munge:munge /run/munge
name=$(hostname)
export SLURM_CONF=$work/slurm.conf
cat > "$SLURM_CONF" <<CONF
ClusterName=here
SlurmctldHost=$name(127.0.0.1)
SlurmctldPort=17100
SlurmUser=root
AuthType=auth/munge
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
ReturnToService=2
SlurmctldPidFile=$work/ctld.pid
SlurmdPidFile=$work/d-%n.pid
SlurmdSpoolDir=$work/spool/%n
StateSaveLocation=$work/state
SlurmctldLogFile=$work/log/ctld
SlurmdLogFile=$work/log/d-%n
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
# Without this a job that is queued again waits for two minutes.
SchedulerParameters=batch_sched_delay=1,sched_interval=5,requeue_delay=1
NodeName=n1 NodeHostname=$name NodeAddr=127.0.0.1 Port=17101 CPUs=2 State=UNKNOWN
NodeName=n2 NodeHostname=$name NodeAddr=127.0.0.1 Port=17102 CPUs=2 State=UNKNOWN
PartitionName=low Nodes=ALL Default=YES State=UP PriorityTier=1 GraceTime=60 PreemptMode=REQUEUE
PartitionName=high Nodes=ALL State=UP PriorityTier=10 PreemptMode=OFF
CONF
stop() {
    scancel --state=RUNNING --state=PENDING --user=root 2>/dev/null || true
    for daemon in "$work"/d-n1.pid "$work"/d-n2.pid "$work"/ctld.pid; do
        if [ -f "$daemon" ]; then kill "$(cat "$daemon")" 2>/dev/null || true; fi
    done
}
trap stop EXIT
munge -n 2>/dev/null | unmunge >/dev/null 2>&1 || runuser -u munge -- munged
slurmctld -f "$SLURM_CONF"
for node in n1 n2; do slurmd -N $node -f "$SLURM_CONF"; done
for _ in $(seq 50); do if [ "$(sinfo -h -p low -t idle -o %D)" = 2 ]; then break; fi; sleep 0.2; done
ended() { for _ in $(seq 600); do if [ -z "$(squeue -h -j "$1" 2>/dev/null)" ]; then return; fi; sleep 0.5; done; }

# The scripts of deploy/ call `fewstep`.
ln -sf "$program" "$work/bin/fewstep"
export PATH=$work/bin:$PATH XDG_CACHE_HOME=$work/cache
cd "$work"
cp "$here/tools/scale/small_teacher.toml" train.toml
weights() { sha256sum < "$work/$1/models/teacher/unet/diffusion_pytorch_model.safetensors" 2>/dev/null || echo "none of $1"; }

fewstep train train.toml --out alone --threads 1 > alone.log 2>&1
srun --mpi=pmix -N 1 -n 2 fewstep train train.toml --out two --threads 1 > two.log 2>&1
check "srun -n 2 trains to the weights of one process" '[ "$(weights alone)" = "$(weights two)" ]'

# An array of 6 shards, the fourth of which is run a second time.
sample=(--cpus-per-task=1 --mem=0 --output="$work/log/%A_%a.out"
    --export=ALL,MODEL=builtin:fashion-mnist,SET=$work/set,COUNT=300,SHARDS=6)
ended "$(sbatch --parsable --array=0-2,4-5 "${sample[@]}" "$here/deploy/sample-array.sbatch")"
said=$(fewstep merge set 2>&1) && code=0 || code=$?
check "merge names the shard that is missing: $said" '[ "$code" = 2 ] && grep -q "missing: 3" <<< "$said"'
ended "$(sbatch --parsable --array=3 "${sample[@]}" "$here/deploy/sample-array.sbatch")"
check "merge takes all shards" 'fewstep merge set --out merged > merge.log 2>&1'
fewstep sample --model builtin:fashion-mnist --count 300 --out-dir one > one.log 2>&1
check "the images of the array are those of one process" \
    '[ "$(cd one && sha256sum *.png)" = "$(cd merged && sha256sum *.png)" ]'

# Training that makes room for another job.
updates=${UPDATES:-1500}
sed "s/updates = 40/updates = $updates/; s/checkpoint_every = 10/checkpoint_every = 100000/" train.toml > long.toml
train=(--nodes=1 --ntasks-per-node=2 --cpus-per-task=1 --nodelist=n1 --open-mode=append --output="$work/log/train.out"
    --export=ALL,COMMAND=train,RECIPE=$work/long.toml,RUN=$work/preempted)
job=$(sbatch --parsable "${train[@]}" "$here/deploy/train.sbatch")
for _ in $(seq 300); do if grep -qs "teacher update 50 " log/train.out; then break; fi; sleep 0.2; done
began=$(date +%s.%N)
srun -p high --nodelist=n1 -n 2 true
echo "      the other job got the node after $(echo "$(date +%s.%N) - $began" | bc) s"
checkpoint=$(ls preempted/checkpoints 2>/dev/null || true)
check "pre-empted, it wrote a checkpoint: $checkpoint" '[ -n "$checkpoint" ]'
grep -v "teacher update" log/train.out | sed 's/^/      | /' | tail -n 8
ended "$job"
check "it was queued again and went on" 'grep -q "The teacher is in" log/train.out'
fewstep train long.toml --out undisturbed --threads 2 > undisturbed.log 2>&1
check "it has the weights of a run that was not disturbed" '[ "$(weights preempted)" = "$(weights undisturbed)" ]'
exit $failed
