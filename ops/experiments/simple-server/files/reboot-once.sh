#!/bin/sh
# reboot-once.sh: exit code 10 asks for a reboot of this machine; the marker in the working directory says that it has been.
if [ -e rebooted ]; then
  echo "this machine has been rebooted"
  exit 0
fi
: > rebooted
echo "asking for a reboot"
exit 10
