#!/bin/sh
# fetch.sh CLIENT URL: fetch URL over this client's delayed connection and print one JSON line with the time it took.
now() { read -r up rest < /proc/uptime; echo "$up"; }
get() { # busybox's own time limit (wget -T) crashes in Debian 12, hence timeout
  if busybox wget --help > /dev/null 2>&1; then timeout 30 busybox wget -q -Y off -O "$2" "$1"
  elif command -v curl > /dev/null; then timeout 30 curl -sSf --noproxy '*' -o "$2" "$1"
  elif command -v wget > /dev/null; then timeout 30 wget -q --no-proxy -t 1 -O "$2" "$1"
  else timeout 30 python3 -c 'import sys, urllib.request as r
r.install_opener(r.build_opener(r.ProxyHandler({})))
r.urlretrieve(*sys.argv[1:])' "$1" "$2"
  fi
}
delay=0
[ -r /etc/vmr-delay ] && read -r delay < /etc/vmr-delay
begin=$(now)
sleep "$delay"
get "$2" fetched || { echo "fetch.sh: cannot fetch $2" >&2; exit 1; }
end=$(now)
bytes=$(wc -c < fetched)
awk -v client="$1" -v bytes="$bytes" -v begin="$begin" -v end="$end" \
  'BEGIN { printf "{\"client\": \"%s\", \"bytes\": %d, \"time\": %.2f}\n", client, bytes, end - begin }'
