#!/bin/sh
# deps.sh - installs what Sluice needs to build and run (`build`) and to be tested (`test`).
#
#   scripts/deps.sh [build] [test]      default: build
#
# Debian and Ubuntu: with apt-get, as root or through sudo. Elsewhere it prints what is missing and exits 1.
# Where the distribution's shader compiler, Vulkan headers, Mesa or layers are old (Debian 12 and 13), newer ones
# of the next release are unpacked into third_party/newer, beside the system and without touching it.
# Running it again is quick: a stamp names the version of this script that last succeeded, and the installed
# packages are looked at again.
set -eu

cd "$(dirname "$0")/.."
mkdir -p third_party
third=$(cd third_party && pwd -P)
newer=$third/newer

packages_build="pkg-config liburing-dev libpcre2-dev libjansson-dev libvulkan-dev libvulkan1 mesa-vulkan-drivers
    glslang-tools spirv-tools python3-pip ca-certificates"
packages_test="libcmocka-dev clang clang-format clang-tidy vulkan-tools"
python_test="perfetto==0.59.1 protobuf==7.36.2"
newer_build="glslang-tools spirv-tools libvulkan-dev"
newer_test="mesa-vulkan-drivers mesa-drm-shim vulkan-validationlayers vulkan-tools"

say() { printf 'deps: %s\n' "$*"; }
die() { printf 'deps: error: %s\n' "$*" >&2; exit 1; }

as_root() {
    if [ "$(id -u)" = 0 ]; then
        "$@"
    elif command -v sudo >/dev/null 2>&1; then
        sudo "$@"
    else
        die "not root, and there is no sudo; as root run: $*"
    fi
}

# retry COMMAND...: three times, for a lock that another apt holds and for a network that stutters
retry() {
    for pause in 5 15 0; do
        if "$@"; then return 0; fi
        [ $pause = 0 ] || { say "failed, once more in $pause s: $1 $2"; sleep $pause; }
    done
    return 1
}

# Without apt-get: what a compiler and the search path can tell.
check_elsewhere() {
    missing=""
    cc=${CC:-cc}
    for header in liburing.h jansson.h vulkan/vulkan.h; do
        echo "#include <$header>" | $cc -E -x c - >/dev/null 2>&1 || missing="$missing $header"
    done
    printf '#define PCRE2_CODE_UNIT_WIDTH 8\n#include <pcre2.h>\n' | $cc -E -x c - >/dev/null 2>&1 ||
        missing="$missing pcre2.h"
    command -v glslang >/dev/null 2>&1 || command -v glslangValidator >/dev/null 2>&1 || missing="$missing glslang"
    case " $1 " in *" test "*)
        printf '#include <stdarg.h>\n#include <stddef.h>\n#include <stdint.h>\n#include <setjmp.h>\n#include <cmocka.h>\n' |
            $cc -E -x c - >/dev/null 2>&1 || missing="$missing cmocka.h"
        for tool in clang-format clang-tidy; do
            command -v $tool >/dev/null 2>&1 || missing="$missing $tool"
        done ;;
    esac
    if [ -z "$missing" ]; then
        case " $1 " in *" test "*) install_python ;; esac
        say "no apt-get here, but everything is present"
        exit 0
    fi
    cat >&2 <<END
deps: this system has no apt-get. Missing here:$missing
deps: install the development files of: liburing (2.3), pcre2 (8-bit), jansson, Vulkan headers (1.3), the Vulkan
deps: loader and a Vulkan driver; the program glslang (14 or newer for matrix units); python3 with pip;
deps: for the tests also: cmocka, clang, clang-format, clang-tidy, the Khronos validation layers
END
    exit 1
}

missing_packages() {
    for package in "$@"; do
        status=$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null || true)
        [ "$status" = installed ] || echo "$package"
    done
}

lists_are_there() { ls /var/lib/apt/lists/*Packages* >/dev/null 2>&1; }

install_packages() {
    # python3-pip only where this python3 has no pip of its own
    wanted=$(missing_packages "$@")
    if python3 -m pip --version >/dev/null 2>&1; then
        wanted=$(printf '%s\n' $wanted | grep -vx python3-pip || true)
    fi
    [ -n "$wanted" ] || return 0
    say "installing:" $wanted
    lists_are_there || retry as_root apt-get -qq update || die "apt-get update failed"
    if ! install_now $wanted; then
        # lists older than the mirror: new ones, then again
        retry as_root apt-get -qq update || die "apt-get update failed"
        retry install_now $wanted || die "apt-get could not install:" $wanted
    fi
}

install_now() {
    as_root env DEBIAN_FRONTEND=noninteractive apt-get -qq -y --no-install-recommends \
        -o DPkg::Lock::Timeout=600 -o Dpkg::Use-Pty=0 install "$@" >"$third/apt.log" 2>&1 ||
        { tail -n 5 "$third/apt.log" >&2; return 1; }
}

# The mirror this machine's apt uses for its own release: "http://.../debian/".
own_mirror() {
    apt-get indextargets --format '$(RELEASE) $(COMPONENT) $(REPO_URI)' 'Created-By: Packages' |
        awk -v release="$codename" '$1 == release && $2 == "main" { print $3; exit }'
}

# unpack_newer PACKAGES: those and all they depend on, of the newer release, into third_party/newer
unpack_newer() {
    private=$third/apt
    mkdir -p "$private/lists/partial" "$private/cache/archives/partial" "$newer"
    lists_are_there || retry as_root apt-get -qq update || die "apt-get update failed"
    mirror=$(own_mirror)
    [ -n "$mirror" ] || die "apt-get indextargets names no mirror for $codename main"
    : >"$private/status"
    {
        echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $mirror trixie main"
        echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $mirror trixie-backports main"
    } >"$private/sources.list"
    say "unpacking newer packages into third_party/newer: $*"
    private_apt="apt-get -qq -y -o Dir::Etc::sourcelist=$private/sources.list -o Dir::Etc::sourceparts=/dev/null
        -o Dir::Etc::preferencesparts=/dev/null -o Dir::State::status=$private/status
        -o Dir::State::lists=$private/lists -o Dir::Cache=$private/cache -o Dir::Cache::archives=$private/cache/archives
        -o Debug::NoLocking=true -o APT::Sandbox::User=root -o APT::Update::Post-Invoke-Success::=
        -o APT::Get::List-Cleanup=false"
    retry $private_apt update || die "the newer release's package lists could not be fetched"
    retry $private_apt --no-install-recommends --download-only -t trixie-backports install "$@" >"$third/apt.log" 2>&1 ||
        { tail -n 5 "$third/apt.log" >&2; die "the newer packages could not be fetched"; }
    for deb in "$private"/cache/archives/*.deb; do
        dpkg -x "$deb" "$newer"
    done
    rm -rf "$private"
}

# What starts the unpacked programs and drivers: wrappers in third_party/bin, driver manifests with absolute paths.
write_wrappers() {
    mkdir -p "$third/bin" "$third/icd"
    lib=$newer/usr/lib/$triplet
    for program in glslang spirv-val spirv-dis vulkaninfo; do
        [ -e "$newer/usr/bin/$program" ] || continue
        cat >"$third/bin/$program" <<END
#!/bin/sh
newer=\${0%/*}/../newer/usr
exec "\$newer/lib/$triplet/$loader" --library-path "\$newer/lib/$triplet" "\$newer/bin/$program" "\$@"
END
        chmod 755 "$third/bin/$program"
    done
    for driver in lvp radeon freedreno nouveau intel; do
        for icd in "$newer"/usr/share/vulkan/icd.d/"$driver"_icd*.json; do
            [ -e "$icd" ] || continue
            sed "s|\"library_path\": *\"[^\"]*/\{0,1\}\(libvulkan_[a-z]*.so\)\"|\"library_path\": \"$lib/\1\"|" \
                "$icd" >"$third/icd/${driver}_newer.json"
        done
    done
}

# SwiftShader comes inside Debian's chromium-common: only its driver is taken out.
unpack_swiftshader() {
    [ ! -e "$third/icd/swiftshader.json" ] || return 0
    work=$third/swiftshader.work
    rm -rf "$work"
    mkdir -p "$work" "$third/swiftshader" "$third/icd"
    say "fetching SwiftShader"
    (cd "$work" && retry apt-get -qq -o APT::Sandbox::User=root download chromium-common) ||
        die "apt-get download chromium-common failed"
    dpkg -x "$work"/chromium-common_*.deb "$work/root"
    found=$(find "$work/root" -name 'libvk_swiftshader.so' | head -n 1)
    [ -n "$found" ] || die "chromium-common carries no libvk_swiftshader.so"
    mv "$found" "$third/swiftshader/"
    printf '{"file_format_version": "1.0.0", "ICD": {"library_path": "%s", "api_version": "1.3.0"}}\n' \
        "$third/swiftshader/libvk_swiftshader.so" >"$third/icd/swiftshader.json"
    rm -rf "$work"
}

# Python packages of the tests, in third_party/python: nothing of the system's python3 changes.
install_python() {
    stamp=$third/python.stamp
    python=${PYTHON:-python3}
    wanted_stamp="$third $($python --version) $python_test"
    [ ! -e "$stamp" ] || [ "$(cat "$stamp")" != "$wanted_stamp" ] || return 0
    say "installing into third_party/python:" $python_test
    rm -rf "$third/python"
    retry $python -m pip install --quiet --quiet --no-deps --only-binary=:all: --no-cache-dir --disable-pip-version-check \
        --no-input --target "$third/python" $python_test ||
        die "pip could not install: $python_test"
    echo "$wanted_stamp" >"$stamp"
}

# newer_set NAME PACKAGES: once for each version of this script and place of this folder
newer_set() {
    stamp=$third/$1.stamp
    shift
    wanted_stamp="$third $(cksum <scripts/deps.sh)"
    if [ ! -e "$stamp" ] || [ "$(cat "$stamp")" != "$wanted_stamp" ]; then
        unpack_newer "$@"
        write_wrappers
        echo "$wanted_stamp" >"$stamp"
    fi
}

[ $# -gt 0 ] || set -- build
for set in "$@"; do
    case $set in build | test) ;; *) die "unknown set '$set': build and test are known" ;; esac
done
command -v apt-get >/dev/null 2>&1 || check_elsewhere "$*"

codename="" ID=""
. /etc/os-release
codename=${VERSION_CODENAME:-}
case $(dpkg --print-architecture) in
amd64) triplet=x86_64-linux-gnu loader=ld-linux-x86-64.so.2 ;;
arm64) triplet=aarch64-linux-gnu loader=ld-linux-aarch64.so.1 ;;
*) triplet="" loader="" ;;
esac
beside=no
case $codename in bookworm | trixie) [ -z "$triplet" ] || beside=yes ;; esac

for set in "$@"; do
    case $set in
    build)
        install_packages $packages_build
        [ $beside = no ] || newer_set newer-build $newer_build
        ;;
    test)
        install_packages $packages_test
        install_python
        if [ $beside = yes ]; then
            newer_set newer-test $newer_test
            unpack_swiftshader
        else
            install_packages vulkan-validationlayers
            [ "$ID" != debian ] || unpack_swiftshader
        fi
        ;;
    esac
done
say "all present: $*"
