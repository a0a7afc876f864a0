#!/bin/bash
# Make Pythons of other machines and C libraries in FOLDER, for tests/test_wheels.py: FOLDER/TAG/python runs one.
# Usage: scripts/pythons.sh FOLDER      (PYTHON=.venv/bin/python has pip and ziglang)
# Run again after an interruption: what is ready stays. Needs Debian's packages and pip's, qemu-user, 300 MB and
# some minutes, most of them for compiling; changes nothing outside FOLDER.
#
# With glibc it is Debian's own Python, unpacked. With musl there is none that packages bring: the same Python is
# compiled from Debian's source, with zlib, bzip2, xz and libffi (without OpenSSL and SQLite, so the service does
# not run there), and runs on Debian's musl. What another machine has runs under qemu-user.
set -euo pipefail
cd "$(dirname "$0")/.."
mkdir -p "$1"
folder=$(cd "$1" && pwd -P)
pip_python=$(pwd -P)/${PYTHON:-.venv/bin/python}
export DEBIAN_FRONTEND=noninteractive

say() { printf 'pythons: %s\n' "$*" >&2; }

here=$(uname -m)
case $here in
    x86_64) there=aarch64 ;;
    aarch64) there=x86_64 ;;
    *) say "there are no wheels for $here" && exit 1 ;;
esac
for need in apt-get=apt dpkg=dpkg "qemu-$there=qemu-user" readelf=binutils make=make; do
    command -v "${need%=*}" >/dev/null || { say "there is no ${need%=*}: apt-get install ${need#*=}"; exit 1; }
done
zig=$("$pip_python" -c 'import pathlib, ziglang; print(pathlib.Path(ziglang.__file__).with_name("zig"))')
# To compile a Python for another machine takes one of the same version for this one.
python=$(basename "$(readlink -f /usr/bin/python3)")
[[ $python == python3.* ]] || { say "there is no /usr/bin/python3: apt-get install python3"; exit 1; }

debian() { case $1 in x86_64) echo amd64 ;; aarch64) echo arm64 ;; esac; }

# apt for MACHINE, with a state of its own: as if nothing were installed, with sources beside binaries.
apt() {
    local machine=$1 state=$folder/.apt/$1 options
    shift
    if [ ! -d "$state" ]; then
        mkdir -p "$state.new"/{lists/partial,cache/archives/partial,parts}
        : >"$state.new/status"
        for file in /etc/apt/sources.list.d/*.sources; do
            [ ! -f "$file" ] || sed 's/^Types:.*/Types: deb deb-src/' "$file" >"$state.new/parts/${file##*/}"
        done
        for file in /etc/apt/sources.list /etc/apt/sources.list.d/*.list; do
            [ ! -f "$file" ] || sed -n 's/^deb\(-src\)\? /deb /p; s/^deb /deb-src /p' "$file" |
                sort -u >"$state.new/parts/$(basename "$file" .list).list"
        done
        mv "$state.new" "$state"
    fi
    options=(-o "APT::Architecture=$(debian "$machine")" -o "APT::Architectures=$(debian "$machine")"
        -o "Dir::State::Lists=$state/lists" -o "Dir::State::status=$state/status" -o "Dir::Cache=$state/cache"
        -o "Dir::Etc::sourcelist=/dev/null" -o "Dir::Etc::sourceparts=$state/parts" -o "APT::Sandbox::User=")
    apt-get -qq "${options[@]}" "$@" >&2
}

# MACHINE ROOT: Debian's Python with all it needs, and the headers it was built with.
unpack_glibc() {
    local state=$folder/.apt/$1 deb
    apt "$1" update
    apt "$1" install -y --no-install-recommends --download-only python3
    (cd "$state/cache/archives" && apt "$1" download "lib$python-dev")
    for deb in "$state"/cache/archives/*.deb; do dpkg -x "$deb" "$2"; done
}

# MACHINE ROOT: Debian's musl, and a Python compiled for it.
compile_musl() {
    local machine=$1 root=$2 work=$folder/.work-$1 host=$1-linux-musl file tool
    rm -rf "$work"
    mkdir -p "$work/packed" "$root/lib"
    apt "$here" update
    (cd "$work/packed" && apt "$here" source --download-only --tar-only "$python" zlib bzip2 xz-utils libffi)
    apt "$machine" update
    (cd "$work/packed" && apt "$machine" download musl && dpkg -x musl_*.deb "$work/musl")
    cp "$work/musl/lib/$host/libc.so" "$root/lib/ld-musl-$machine.so.1"
    for file in "$work"/packed/*.orig.tar.*; do tar -xf "$file" -C "$work"; done
    # Python's setup.py looks into this machine's folders as well. Whether -static works, which libtool asks,
    # would take Zig minutes to say: it compiles all of musl.
    cat >"$work/cc" <<END
#!/bin/bash
for given; do shift; case \$given in -[IL]/usr/* | -static) ;; *) set -- "\$@" "\$given" ;; esac; done
exec "$zig" cc -target $host -dynamic -Wno-date-time -fno-sanitize=undefined "\$@"
END
    for tool in ar ranlib; do printf '#!/bin/sh\nexec "%s" %s "$@"\n' "$zig" "$tool" >"$work/$tool"; done
    chmod +x "$work"/{cc,ar,ranlib}
    export CC=$work/cc AR=$work/ar RANLIB=$work/ranlib READELF=/usr/bin/readelf CFLAGS='-O1 -fPIC'
    export PKG_CONFIG_PATH=$work/made/lib/pkgconfig
    mkdir -p "$work"/made/{include,lib}
    exec >>"$work/log" 2>&1
    cd "$work"/zlib-*
    ./configure --static
    make -s libz.a
    cp zlib.h zconf.h "$work/made/include"
    cp libz.a "$work/made/lib"
    cd "$work"/bzip2-*
    make -s CC="$CC" AR="$AR" RANLIB="$RANLIB" CFLAGS="$CFLAGS" libbz2.a
    cp bzlib.h "$work/made/include"
    cp libbz2.a "$work/made/lib"
    local static=(--host="$host" --disable-shared --with-pic --prefix="$work/made")
    cd "$work"/xz-*
    ./configure "${static[@]}" --disable-{xz,xzdec,lzmadec,lzmainfo,lzma-links,scripts,doc,nls}
    make -s install
    cd "$work"/libffi-*
    ./configure "${static[@]}" --disable-{docs,multi-os-directory,exec-static-tramp}
    make -s install
    cd "$work"/[Pp]ython-3*
    # It takes the machine that compiles for the one that will run; and what Debian's musl lacks, Zig's has.
    sed -i 's/case "\$build_os" in/case "$host_os" in/' configure
    CFLAGS='' ./configure --host="$host" --build="$here-linux-gnu" --with-build-python="/usr/bin/$python" \
        --prefix=/usr --without-ensurepip --disable-test-modules --with-system-ffi OPT='-O1 -DNDEBUG' \
        CPPFLAGS="-I$work/made/include" LDFLAGS="-L$work/made/lib" \
        ac_cv_file__dev_ptmx=yes ac_cv_file__dev_ptc=no ac_cv_buggy_getaddrinfo=no ac_cv_header_stropts_h=no \
        ac_cv_func_preadv2=no ac_cv_func_pwritev2=no
    make -s -j2 python sharedmods
    # What `make install` lays down, without compiling the library's Python three times.
    local library=$root/usr/lib/$python
    mkdir -p "$root/usr/bin" "$library/lib-dynload"
    cp python "$root/usr/bin/$python"
    cp -r Lib/. "$library"
    rm -rf "$library"/{test,idlelib,lib2to3,tkinter}
    cp build/lib.*/*.so "$library/lib-dynload"
    cp build/lib.*/_sysconfigdata*.py "$library"
    for tool in zlib bz2 lzma _ctypes; do ls "$library/lib-dynload" | grep -E "^_?${tool#_}\."; done
}

# TAG LIBC MACHINE
made() {
    local place=$folder/$1 root=$folder/$1/root
    if [ ! -e "$place/.python" ] || [ scripts/pythons.sh -nt "$place/.python" ]; then
        rm -rf "$place"
        mkdir -p "$root"
        if [ "$2" = glibc ]; then
            say "unpacking Debian's $python for $3"
            unpack_glibc "$3" "$root"
        else
            say "compiling $python for musl on $3 (minutes); $folder/.work-$3/log"
            # Not `compile_musl || …`, in which bash would go on after a failure.
            (trap '[ $? = 0 ] || say "that failed"' EXIT && compile_musl "$3" "$root")
            rm -rf "$folder/.work-$3"
        fi
        local run='"$here/root/usr/bin/'$python'"'
        if [ "$3" != "$here" ]; then
            run="qemu-$3 -L \"\$here/root\" $run"
        else
            run="\"\$here/root/lib/ld-musl-$3.so.1\" $run"
        fi
        printf '#!/bin/sh\nhere=$(dirname "$(readlink -f "$0")")\nexec %s "$@"\n' "$run" >"$place/python"
        chmod +x "$place/python"
        touch "$place/.python"
    fi
    if [ ! -e "$place/.site" ] || [ pyproject.toml -nt "$place/.site" ] || [ "$place/.python" -nt "$place/.site" ]; then
        local platforms tag
        case $2 in
            glibc) platforms="manylinux_2_17 manylinux2014 manylinux_2_28" ;;
            musl) platforms="musllinux_1_1 musllinux_1_2" ;;
        esac
        say "installing what Indicia and its tests need for $1"
        rm -rf "$place/site"
        # shellcheck disable=SC2046
        "$pip_python" -m pip --disable-pip-version-check install --quiet --target "$place/site" \
            --python-version "${python#python}" --only-binary=:all: \
            $(for tag in $platforms; do echo --platform "${tag}_$3"; done) \
            $("$pip_python" -c 'import tomllib
with open("pyproject.toml", "rb") as file:
    print(*tomllib.load(file)["project"]["dependencies"])') hypothesis pytest pytest-timeout pyyaml
        touch "$place/.site"
    fi
}

made "manylinux_2_17_$there" glibc "$there"
made "musllinux_1_2_$here" musl "$here"
made "musllinux_1_2_$there" musl "$there"
say "ready"
