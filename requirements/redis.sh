#!/usr/bin/env bash
# Find or unpack a Redis server for tests and local use: requirements/redis.sh FOLDER.
set -euo pipefail
folder=$1 what="Redis server" program=redis-server
remedy="install it (\`apt-get update && apt-get install redis-server\` as root), then run \`make env-redis\` again"
. "${0%/*}/unpacked.sh"

of_the_system redis-server
unpack redis-server redis-tools
with_libraries root/usr/bin/redis-server redis-server redis-tools
wrap root/usr/bin/redis-server
