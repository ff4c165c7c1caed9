#!/bin/sh
# Makes the swarm key of a new consortium, or of one that changes it: make-swarm-key.sh FILE
# One hospital runs it once and hands the file to the others as it would a password. Who has it can join the swarm.
set -eu

file=${1:?usage: make-swarm-key.sh FILE}
[ ! -e "$file" ] || { echo "$file is there already" >&2; exit 1; }

umask 077
secret=$(od -An -v -tx1 -N32 /dev/urandom | tr -d ' \n')
[ ${#secret} -eq 64 ] || { echo "the system gave too few random bytes" >&2; exit 1; }
printf '/key/swarm/psk/1.0.0/\n/base16/\n%s\n' "$secret" >"$file"
