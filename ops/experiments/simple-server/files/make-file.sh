#!/bin/sh
# make-file.sh FILE BYTES: make a file of that size, so that nothing large has to be carried into the machine.
set -e
mkdir -p "${1%/*}"
head -c "$2" /dev/urandom > "$1"
echo "$1: $(wc -c < "$1") bytes"
