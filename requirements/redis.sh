#!/usr/bin/env bash
# Find or unpack a Redis server for tests and local use: requirements/redis.sh FOLDER. No root, nothing is installed.
# Without one the build goes on: FOLDER/missing says why, and the tests that need Redis are skipped with those words.
set -euo pipefail
folder=$1
start=$SECONDS
remedy="install it (\`apt-get update && apt-get install redis-server\` as root), then run \`make env-redis\` again"
mkdir -p "$folder"
cd "$folder"
rm -rf .built missing redis-server root debs

missing() { rm -rf root debs; echo "no Redis server here: $1; $remedy" >missing; echo "make env: $(cat missing)" >&2; exit 0; }
ready() { ./redis-server --version >version 2>/dev/null || missing "$1 does not run"; touch .built; echo "make env: redis is ready in $folder ($((SECONDS - start)) s)"; exit 0; }

if found=$(command -v redis-server); then
  ln -s "$found" redis-server
  ready "$found"
fi
for tool in apt-get dpkg-deb ldd; do command -v "$tool" >/dev/null || missing "neither redis-server nor $tool is there"; done

mkdir root debs
unpack() { # the named packages of this system's own release, signed as apt wants them
  (cd debs && apt-get download -qq "$@" >apt.log 2>&1) || missing "apt-get cannot download $* ($(grep -m1 '^E:' debs/apt.log || echo 'no reason given'))"
  for package in "$@"; do dpkg-deb -x debs/"$package"_*.deb root; done
}
needs() { for package in "$@"; do dpkg-deb -f debs/"$package"_*.deb Depends; done | tr ',|' '\n\n' | sed -E 's/^ +//; s/[ (].*//' | sort -u; }
lacking() { LD_LIBRARY_PATH=$libraries ldd root/usr/bin/redis-server 2>/dev/null | grep 'not found' >/dev/null; }

unpack redis-server redis-tools
wanted=$(needs redis-server redis-tools)
for _ in 1 2 3; do # libraries of libraries
  libraries=$(find root -name 'lib*.so*' -printf '%h\n' | sort -u | paste -sd:)
  lacking || break
  wanted=$(for package in $wanted; do case $package in lib*) dpkg-query -W -f='${db:Status-Status}' "$package" 2>/dev/null | grep -x installed >/dev/null || echo "$package" ;; esac; done)
  [ -n "$wanted" ] || break
  unpack $wanted
  wanted=$(needs $wanted)
done
lacking && missing "libraries are missing: $(LD_LIBRARY_PATH=$libraries ldd root/usr/bin/redis-server | awk '/not found/ {print $1}' | paste -sd' ')"
rm -rf debs
{
  echo '#!/bin/sh'
  echo 'here=$(dirname "$(readlink -f "$0")")'
  echo "LD_LIBRARY_PATH=$(echo ":$libraries" | sed 's|:|:$here/|g; s|^:||') exec \"\$here/root/usr/bin/redis-server\" \"\$@\""
} >redis-server
chmod +x redis-server
ready "the unpacked redis-server"
