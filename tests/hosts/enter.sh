#!/bin/sh
# What mpirun takes for ssh: `enter.sh [-x] ADDRESS COMMAND...` runs the command on the host with that address.
# HOSTS_BY_ADDRESS lists "address=pid" for every host; the pid is that of the process that holds its namespaces.
[ "$1" = -x ] && shift
address=$1
shift
for host in $HOSTS_BY_ADDRESS; do
    [ "${host%%=*}" = "$address" ] || continue
    pid=${host#*=}
    exec nsenter --target "$pid" --net --uts --ipc --mount --pid="/proc/$pid/ns/pid_for_children" -- sh -c "$*"
done
echo "enter.sh: no host has the address $address" >&2
exit 1
