# Sourced by redis.sh and chromium.sh: a program of the system, else one out of its packages. No root, nothing is
# installed. Where there is none the build goes on: the folder's `missing` says why, and tests that need it are skipped
# with those words.
#
# The caller names: $folder, $what ("Redis server"), $remedy, $program (the name that FOLDER gets it under).
start=$SECONDS
mkdir -p "$folder"
cd "$folder"
rm -rf .built missing "$program" root debs

missing() { rm -rf root debs; echo "no $what here: $1; $remedy" >missing; echo "make env: $(cat missing)" >&2; exit 0; }

ready() { # OF: the program says its version, or it is none
  "./$program" --version >version 2>/dev/null || missing "$1 does not run"
  touch .built
  echo "make env: $program is ready in $folder ($((SECONDS - start)) s)"
  exit 0
}

of_the_system() { # NAMES: the first that there is
  local name found
  for name in "$@"; do
    if found=$(command -v "$name"); then
      ln -s "$found" "$program"
      ready "$found"
    fi
  done
  for name in apt-get dpkg-deb ldd; do command -v "$name" >/dev/null || missing "neither $1 nor $name is there"; done
  mkdir root debs
}

unpack() { # PACKAGES of this system's own release, signed as apt wants them
  (cd debs && apt-get download -qq "$@" >apt.log 2>&1) || missing "apt-get cannot download $* ($(grep -m1 '^E:' debs/apt.log || echo 'no reason given'))"
  for package in "$@"; do dpkg-deb -x debs/"$package"_*.deb root; done
}

needs() { for package in "$@"; do dpkg-deb -f debs/"$package"_*.deb Depends; done | tr ',|' '\n\n' | sed -E 's/^ +//; s/[ (:].*//' | sort -u; }

lacking() { LD_LIBRARY_PATH=$libraries ldd "$1" 2>/dev/null | awk '/not found/ {print $1}' | sort -u | paste -sd' '; }

with_libraries() { # BINARY PACKAGES: the libraries that they ask for and the system lacks, and those of libraries
  local binary=$1 wanted
  shift
  wanted=$(needs "$@")
  for _ in 1 2 3 4 5 6; do
    libraries=$(find "$PWD/root" -name 'lib*.so*' -printf '%h\n' | sort -u | paste -sd:)
    [ -n "$(lacking "$binary")" ] || break
    wanted=$(for package in $wanted; do case $package in lib*) [ -n "$(find debs -name "${package}_*.deb")" ] || dpkg-query -W -f='${db:Status-Status}' "$package" 2>/dev/null | grep -x installed >/dev/null || echo "$package" ;; esac; done)
    [ -n "$wanted" ] || break
    unpack $wanted
    wanted=$(needs $wanted)
  done
  [ -z "$(lacking "$binary")" ] || missing "libraries are missing: $(lacking "$binary")"
  rm -rf debs root/usr/share/doc
}

wrap() { # BINARY, relative to the folder, and a line of shell before it: the program, wherever the folder is moved
  {
    echo '#!/bin/sh'
    echo 'here=$(dirname "$(readlink -f "$0")")'
    [ -z "${2:-}" ] || echo "$2"
    echo "LD_LIBRARY_PATH=${libraries//"$PWD"/\$here} exec \"\$here/$1\" \"\$@\""
  } >"$program"
  chmod +x "$program"
  ready "the unpacked $program"
}
