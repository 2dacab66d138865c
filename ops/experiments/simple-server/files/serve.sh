#!/bin/sh
# serve.sh PORT FOLDER LOG PIDFILE: serve FOLDER over HTTP until stop-server.sh ends it; requests go to LOG.
port=$1 folder=$2 log=$3 pid_file=$4
mkdir -p "${log%/*}"
if busybox httpd --help > /dev/null 2>&1; then
  busybox httpd -f -vv -p "$port" -h "$folder" 2>> "$log" &
elif command -v python3 > /dev/null; then
  python3 -u -m http.server "$port" --directory "$folder" > /dev/null 2>> "$log" &
else
  echo "serve.sh: neither busybox httpd nor python3 is on this machine" >&2
  exit 127
fi
child=$!
trap 'stopped=1; kill "$child" 2> /dev/null' TERM INT
echo $$ > "$pid_file"
echo "serving $folder on port $port"
wait "$child"
code=$?
[ -n "$stopped" ] || exit "$code"
wait "$child" 2> /dev/null
echo "stopped"
rm -f "$pid_file"
