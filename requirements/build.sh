#!/usr/bin/env bash
# Build one environment from its lock file: requirements/build.sh NAME FOLDER. Safe to kill and run again.
set -euo pipefail
name=$1 folder=$2
cd "$(dirname "$0")/.."
lock=requirements/$name.lock.txt
python=${PYTHON:-python3.11}
start=$SECONDS

need() { command -v "$1" >/dev/null || { echo "make env: $1 is missing; install it: $2" >&2; exit 2; }; }
need "$python" "apt-get install python3.11 python3.11-venv libpython3.11 (or set PYTHON to a Python 3.11)"
need g++ "apt-get install g++"

"$python" -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' || { echo "make env: $python is not Python 3.11; set PYTHON to one" >&2; exit 2; }
[ -x "$folder/bin/pip" ] || "$python" -m venv "$folder"
pip=("$folder/bin/python" -m pip --disable-pip-version-check --no-input)

install() { # what pip prints is kept and shown if every attempt fails
  local log attempt
  log=$(mktemp)
  for attempt in 1 2 3; do
    if "${pip[@]}" install -q --no-deps --progress-bar off "$@" >"$log" 2>&1; then rm -f "$log"; return; fi
    echo "make env: $name: attempt $attempt of 3 failed" >&2
    sleep $((attempt * 5))
  done
  grep -v '^WARNING' "$log" | tail -n 20 >&2
  rm -f "$log"
  echo "make env: installing the $name environment failed; check the network and the disk ($(df -h --output=avail . | tail -1 | tr -d ' ') free), then run the same command again" >&2
  exit 1
}

install -r "$lock"
if grep -q '^torch==' "$lock" && ! "$folder/bin/python" -c 'import torch' 2>/dev/null; then
  # Where the registry serves a CUDA build, its libraries are separate packages that --no-deps left out.
  "${pip[@]}" install -q --progress-bar off "$(grep '^torch==' "$lock")" >/dev/null
fi
[ "$name" != main ] || install --no-build-isolation -e .
sha256sum "$lock" | cut -d' ' -f1 >"$folder/.built"
echo "make env: $name is ready in $folder ($((SECONDS - start)) s)"
