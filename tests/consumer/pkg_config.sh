#!/usr/bin/env bash
# usage: pkg_config.sh PKG_CONFIG CXX LIBDIR SOURCE PROGRAM   builds and runs SOURCE by pkg-config alone
set -euo pipefail
export PKG_CONFIG_PATH=$3/pkgconfig
eval "flags=($("$1" --cflags --libs tessera))"  # pkg-config quotes the spaces of paths
"$2" "$4" -o "$5" "${flags[@]}" -Wl,-rpath,"$3"
"$5"
