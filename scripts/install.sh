#!/bin/sh
# install.sh - `make install`: the command, the libraries, one self-contained header and a pkg-config file.
# Environment: BUILD (tree to install from), VERSION, PREFIX, DESTDIR.
set -eu
cd "$(dirname "$0")/.."
to=$DESTDIR$PREFIX

install -d "$to/bin" "$to/include" "$to/lib/pkgconfig"
install -m 755 "$BUILD/sluice" "$to/bin/sluice"
install -m 644 "$BUILD/libsluice.a" "$to/lib/libsluice.a"
install -m 755 "$BUILD/libsluice.so" "$to/lib/libsluice.so.$VERSION"
ln -sf "libsluice.so.$VERSION" "$to/lib/libsluice.so.0"
ln -sf libsluice.so.0 "$to/lib/libsluice.so"

# The public header includes one file of the source tree; its text takes the place of that line.
sed -e '/#include "hal\/base\/status.h"/{
r hal/base/status.h
d
}' runtime/include/sluice.h >"$BUILD/sluice.h"
if grep -n '#include "' "$BUILD/sluice.h" >&2; then
    echo "install: error: the installed sluice.h would include files that are not installed" >&2
    exit 1
fi
install -m 644 "$BUILD/sluice.h" "$to/include/sluice.h"

cat >"$BUILD/sluice.pc" <<END
prefix=$PREFIX
libdir=\${prefix}/lib
includedir=\${prefix}/include

Name: sluice
Description: Runs large language models on any Vulkan device, streaming the weights that do not fit
Version: $VERSION
Libs: -L\${libdir} -lsluice
Libs.private: -luring -lpcre2-8 -ljansson -lpthread -lm -ldl
Cflags: -I\${includedir}
END
install -m 644 "$BUILD/sluice.pc" "$to/lib/pkgconfig/sluice.pc"
