#!/bin/sh
# stop-server.sh PIDFILE: end serve.sh, which removes PIDFILE as its last act, and wait for that, at most ten seconds.
kill "$(cat "$1")" || exit 1
tries=0
while [ -e "$1" ]; do
  tries=$((tries + 1))
  [ "$tries" -le 10 ] || { echo "stop-server.sh: serve.sh does not end" >&2; exit 1; }
  sleep 1
done
echo "server stopped"
