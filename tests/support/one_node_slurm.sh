#!/usr/bin/env bash
# A Slurm of one node on this machine, for the tests that are marked `slurm`. As root, on Debian or Ubuntu:
#
#   apt-get install munge slurmctld slurmd slurm-client
#   bash tests/support/one_node_slurm.sh start|stop
#
# A job of the partition `urgent` takes the place of those in `main`, which have 10 seconds to end.
# All that Slurm writes lies in /var/lib/one-node-slurm. Jobs are ended by their processes (no cgroups), and nothing is
# kept of those that have ended: accounting would need a database, and improve asks for none.
set -euo pipefail

place=/var/lib/one-node-slurm

configuration() {
  cat <<END
ClusterName=one
SlurmctldHost=$(hostname)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
StateSaveLocation=$place/state
SlurmdSpoolDir=$place/spool
SlurmctldPidFile=$place/slurmctld.pid
SlurmdPidFile=$place/slurmd.pid
SlurmctldLogFile=$place/slurmctld.log
SlurmdLogFile=$place/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
ReturnToService=2
SchedulerParameters=batch_sched_delay=0
KillWait=15
MinJobAge=300
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/none
NodeName=$(hostname) CPUs=$(nproc) RealMemory=$(($(awk '/MemTotal/ {print $2}' /proc/meminfo) / 1024 - 1024)) State=UNKNOWN
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE State=UP PriorityTier=1 GraceTime=10
PartitionName=urgent Nodes=ALL MaxTime=INFINITE State=UP PriorityTier=10
END
}

ended() { [[ ! -f $1 ]] || kill "$(cat "$1")" 2>/dev/null || true; }

case ${1:-} in
start)
  mkdir -p $place/state $place/spool /etc/slurm
  configuration >/etc/slurm/slurm.conf
  install -d -o munge -g munge -m 755 /run/munge
  pgrep -x munged >/dev/null || setpriv --reuid munge --regid munge --init-groups munged
  slurmctld
  slurmd
  until sinfo --noheader --format %t 2>/dev/null | grep --quiet idle; do sleep 0.5; done
  sinfo
  ;;
stop)
  ended $place/slurmd.pid
  ended $place/slurmctld.pid
  ;;
*)
  echo "usage: $0 start|stop" >&2
  exit 2
  ;;
esac
