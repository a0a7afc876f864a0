#!/bin/bash
# Make the environment FOLDER with Indicia (editable) and the dependency group GROUP of pyproject.toml.
# Usage: scripts/setup.sh FOLDER GROUP      (PYTHON=python3.12 chooses the interpreter)
# Run again after an interruption: it goes on where it can and starts anew where it must.
set -euo pipefail
cd "$(dirname "$0")/.."
folder=$1
group=$2
python=${PYTHON:-python3}
here=$(pwd -P)

say() { printf 'setup: %s\n' "$*" >&2; }

# What is missing, and the one line that installs it (Debian's names).
missing=()
stop=no
if ! command -v "$python" >/dev/null; then
    say "there is no $python"
    missing+=(python3 python3-venv python3-dev)
    stop=yes
else
    if ! "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then
        say "$("$python" --version) is too old: Indicia needs Python 3.11 or newer (Debian 12 has it)"
        say "name another one: make setup PYTHON=/path/to/python3.11"
        exit 1
    fi
    if ! "$python" -c 'import ensurepip, venv' 2>/dev/null; then
        say "$python cannot make environments (module venv or ensurepip)"
        missing+=(python3-venv)
        stop=yes
    fi
    if ! "$python" -c 'import pathlib, sys, sysconfig
sys.exit(not pathlib.Path(sysconfig.get_path("include"), "Python.h").exists())'; then
        say "Python.h is absent (only a dependency without a wheel for this machine asks for it)"
        missing+=(python3-dev)
    fi
fi
if ! command -v gcc >/dev/null && ! command -v cc >/dev/null; then
    say "there is no C compiler (only a dependency without a wheel for this machine asks for it)"
    missing+=(gcc)
fi
if ((${#missing[@]})); then
    say "install with: sudo apt-get update && sudo apt-get install -y ${missing[*]}"
    [ "$stop" = no ] || exit 1
fi
# Each by itself: a system that has no package of one may have the other.
# command=package
case $group in
    dev) needs="chromium=chromium faketime=faketime systemd-analyze=systemd java=default-jre-headless mvn=maven nginx=nginx haproxy=haproxy" ;;
    wheels) needs="qemu-aarch64=qemu-user readelf=binutils make=make" ;;
    spark) needs="java=default-jre-headless mvn=maven" ;;
    *) needs= ;;
esac
for need in $needs; do
    if PATH="$PATH:/usr/sbin" command -v "${need%=*}" >/dev/null; then continue; fi
    package=${need#*=}
    say "there is no ${need%=*}; tests that need it (a browser, the clock, units, Kafka, Spark, balancers, other machines) are skipped"
    line="apt-get update -qq && apt-get install -qq -y --no-install-recommends $package"
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
        say "$line"
        DEBIAN_FRONTEND=noninteractive bash -c "$line" >/dev/null 2>&1 || say "that failed; it goes on without"
    fi
done

mkdir -p "$folder"
# Two calls at once would trip over each other.
exec 9>"$folder/.lock"
if command -v flock >/dev/null; then flock 9; fi
current=yes
for input in pyproject.toml setup.py src/indicia/match/_kernel.c scripts/setup.sh; do
    [ "$folder/.ready-$group" -nt "$input" ] || current=no
done
[ "$current" = no ] || exit 0

# An environment that an interruption left half made, or that came here by a move of the checkout, is made anew.
if ! "$folder/bin/python" -m pip --version >/dev/null 2>&1 ||
    [ "$(cat "$folder/.place" 2>/dev/null || echo "$here")" != "$here" ]; then
    say "making $folder with $("$python" --version)"
    rm -rf "$folder"/{bin,lib,lib64,include,share,pyvenv.cfg} "$folder"/.ready-*
    "$python" -m venv "$folder"
fi
echo "$here" >"$folder/.place"

pip=("$folder/bin/python" -m pip --disable-pip-version-check --quiet)
# Dependency groups need pip 25.1.
if ! "$folder/bin/python" -c 'import pip, sys
sys.exit(tuple(int(part) for part in pip.__version__.split(".")[:2]) < (25, 1))'; then
    "${pip[@]}" install --upgrade 'pip>=25.1'
fi
say "installing Indicia and its dependency group '$group' (the network is needed this once)"
if ! "${pip[@]}" install --editable . --group "$group"; then
    say "pip failed; its reason stands above. 'make setup' goes on from here, 'make clean' starts anew"
    exit 1
fi
touch "$folder/.ready-$group"
# What development needs includes what the demo needs.
[ "$group" != dev ] || touch "$folder/.ready-demo"
say "ready"
