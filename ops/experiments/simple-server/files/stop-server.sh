#!/bin/sh
# stop-server.sh: end serve.sh and wait until it has ended, at most ten seconds.
pid=$(cat /tmp/vmr-serve.pid) || exit 1
kill "$pid" || exit 1
tries=0
while kill -0 "$pid" 2> /dev/null; do
  tries=$((tries + 1))
  [ "$tries" -le 10 ] || { echo "stop-server.sh: serve.sh does not end" >&2; exit 1; }
  sleep 1
done
echo "server stopped"
