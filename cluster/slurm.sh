#!/usr/bin/env bash
# Slurm: one batch job is one sweep, with a Ray cluster of its own on the job's nodes that ends with it.
#
# Costs:   what your site charges for the nodes below until the sweep ends or --time is over: nodes x hours (x GPUs).
#          Nothing grows or shrinks while it runs. `raydarts validate SPEC` says how many jobs and epochs a spec is.
# Fill in: the #SBATCH lines (partition, account, nodes, CPUs, GPUs, time), and RAYDARTS_VENV where raydarts is not in
#          ~/raydarts/venv: `python3 -m venv ~/raydarts/venv && ~/raydarts/venv/bin/pip install -c
#          cluster/constraints.txt '.[cluster]'` from the checkout at the commit you want, once, on a login node.
# Needs:   a home and a STORAGE folder that all nodes see. The token is made for the job, in ~/.ray, mode 0600, and
#          removed at its end; no dashboard is started. Ray's ports are open to the site's network: callers need the
#          token, but nothing is encrypted.
#
#   up:    (nothing: the job is the cluster)
#   sweep: sbatch cluster/slurm.sh SPEC STORAGE NAME     # again with the same STORAGE and NAME: goes on with that run
#   down:  scancel --signal=INT --batch JOBID            # in order; `scancel JOBID` at once. Both can be gone on with.
#SBATCH --job-name=raydarts
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
#SBATCH --cpus-per-task=8
#SBATCH --gpus-per-node=1
#SBATCH --time=12:00:00
#SBATCH --signal=B:INT@120
#SBATCH --output=raydarts-%j.log
set -euo pipefail

if [ $# -ne 3 ]; then
  echo "usage: sbatch cluster/slurm.sh SPEC STORAGE NAME" >&2
  exit 2
fi
spec=$1 storage=$2 name=$3
export PATH="${RAYDARTS_VENV:-$HOME/raydarts/venv}/bin:$PATH"
export RAY_AUTH_MODE=token RAY_USAGE_STATS_ENABLED=0
export RAY_AUTH_TOKEN_PATH="$HOME/.ray/slurm-$SLURM_JOB_ID.token"
cpus=${SLURM_CPUS_PER_TASK:-1} gpus=${SLURM_GPUS_ON_NODE:-0}
port=$((20000 + SLURM_JOB_ID % 10000))
mapfile -t nodes < <(scontrol show hostnames "$SLURM_JOB_NODELIST")

sweep=
# shellcheck disable=SC2329 # called by the trap
finish() {
  trap - EXIT
  # The runs of `ray start` end with their srun; the token is of no use without them.
  mapfile -t left < <(jobs -p)
  [ ${#left[@]} -eq 0 ] || kill "${left[@]}" 2> /dev/null || true
  wait || true
  rm -f "$RAY_AUTH_TOKEN_PATH"
}
trap finish EXIT
trap '[ -z "$sweep" ] || kill -INT "$sweep"' INT TERM

mkdir -p "$HOME/.ray"
(umask 077 && python -c 'import secrets; print(secrets.token_hex(32), end="")' > "$RAY_AUTH_TOKEN_PATH")

on() { # on NODE COMMAND...
  local node=$1
  shift
  srun --nodes=1 --ntasks=1 --overlap --nodelist="$node" "$@"
}

address=$(on "${nodes[0]}" hostname --ip-address | awk '{print $1}')
on "${nodes[0]}" ray start --head --block --node-ip-address="$address" --port="$port" --include-dashboard=false \
  --temp-dir="/tmp/raydarts-$SLURM_JOB_ID" --num-cpus="$cpus" --num-gpus="$gpus" &
for _ in $(seq 60); do
  (echo > "/dev/tcp/$address/$port") 2> /dev/null && break
  sleep 1
done
for node in "${nodes[@]:1}"; do
  on "$node" ray start --block --address="$address:$port" --num-cpus="$cpus" --num-gpus="$gpus" &
done

# The sweep plans with the machines that are there when it begins, so all of them must be.
python - "$address:$port" "${#nodes[@]}" << 'PYTHON'
import sys, time
import ray
ray.init(address=sys.argv[1], log_to_driver=False, logging_level="ERROR")
deadline = time.monotonic() + 300
while (up := sum(node["Alive"] for node in ray.nodes())) < int(sys.argv[2]):
    if time.monotonic() > deadline:
        sys.exit(f"only {up} of {sys.argv[2]} nodes joined within 300 s")
    time.sleep(0.5)
print(f"{up} nodes are up", flush=True)
PYTHON

if raydarts status "$storage/$name" > /dev/null 2>&1; then
  raydarts resume "$storage/$name" --address "$address:$port" &
else
  raydarts sweep "$spec" --storage "$storage" --name "$name" --address "$address:$port" &
fi
sweep=$!
code=0
wait "$sweep" || code=$?
# A signal ends `wait` early, with 128 + its number: the sweep itself is then still putting its files in order.
while kill -0 "$sweep" 2> /dev/null; do
  code=0
  wait "$sweep" || code=$?
done
exit "$code"
