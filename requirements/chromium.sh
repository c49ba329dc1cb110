#!/usr/bin/env bash
# Find or unpack a headless Chromium for the tests of the service's page: requirements/chromium.sh FOLDER.
set -euo pipefail
folder=$1 what="Chromium" program=chromium
remedy="install it (\`apt-get update && apt-get install chromium\` as root), then run \`make env-chromium\` again"
. "${0%/*}/unpacked.sh"

of_the_system chromium chromium-browser google-chrome
unpack chromium-headless-shell chromium-common fonts-dejavu-core
with_libraries root/usr/lib/chromium/chromium-headless-shell chromium-headless-shell
# Fonts of its own: a machine without a screen has none, and text would be boxes.
echo "<fontconfig><dir>$PWD/root/usr/share/fonts</dir><cachedir>$PWD/root/fonts</cachedir></fontconfig>" >root/fonts.conf
wrap root/usr/lib/chromium/chromium-headless-shell 'export FONTCONFIG_FILE="$here/root/fonts.conf"'
