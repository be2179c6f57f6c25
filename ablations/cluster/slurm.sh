#!/bin/bash
# A study on all GPUs of a SLURM job: one Ray cluster over its nodes, one trial per GPU.
#
#   sbatch --nodes 4 --gpus-per-node 8 --cpus-per-task 64 --time 24:00:00 ablations/cluster/slurm.sh \
#       --ladder convnext-t --data imagenet --root /shared/imagenet --study /shared/studies/road
#
# What follows the script's name is what `python -m ablations run` takes; the study and the data lie where all nodes see
# them. Submitted again, the job goes on from the last epoch of each trial. The job's output and
# study.log in the study's folder show the progress. For one trial on many GPUs at a time, instead:
#
#   srun --ntasks-per-node 8 --kill-on-bad-exit python -m ablations run --trainer.devices 8 --trainer.num_nodes 4 \
#       --trainer.sync_batchnorm true ...
#SBATCH --job-name=convnext-path
#SBATCH --ntasks-per-node=1
#SBATCH --no-kill
set -euo pipefail

# Nobody else on these nodes may speak with our cluster.
export RAY_AUTH_MODE=token
RAY_AUTH_TOKEN=$(od -An -N32 -tx1 /dev/urandom | tr -d ' \n')
export RAY_AUTH_TOKEN

head=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | sed -n 1p)  # head would break the pipe
address=$head:$((15000 + SLURM_JOB_ID % 10000))
cores=${SLURM_CPUS_PER_TASK:-$SLURM_CPUS_ON_NODE}
export RAY_SYMMETRIC_RUN_CLUSTER_WAIT_TIMEOUT=600  # seconds in which all nodes are to be there
srun --ntasks "$SLURM_JOB_NUM_NODES" --cpus-per-task "$cores" --no-kill \
    ray symmetric-run --address "$address" --min-nodes "$SLURM_JOB_NUM_NODES" --num-cpus "$cores" -- \
    python -m ablations run --engine ray --engine.address "$address" "$@"
