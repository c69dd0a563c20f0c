#!/bin/sh
# Brings RocksDB ready built, as its makers publish it on Maven Central, and prints the two lines that make cargo use it:
#
#   eval "$(docker/rocksdb.sh)" && cargo build
#
# Without it cargo compiles RocksDB from source: 33 minutes of processor time, 20 minutes on two cores. A short cut for development, tests, demo and
# benches only: a release links RocksDB statically, from source (make build-from-source). Where the short cut cannot be had (no Maven, another platform)
# nothing is printed, the reason is said, and cargo compiles. Everything but the two lines goes to stderr.
set -eu
cd "$(dirname "$0")/.."
cache=${RECADO_CACHE:-$HOME/.cache/recado}/rocksdb

say() { printf '%s\n' "$*" >&2; }
from_source() {
    say "RocksDB: $* It is compiled from source now, once, which takes about 20 minutes."
    exit 0
}

host=$(rustc -vV | sed -n 's/^host: //p')
case $host in
    x86_64-unknown-linux-gnu) file=librocksdbjni-linux64.so ;;
    aarch64-unknown-linux-gnu) file=librocksdbjni-linux-aarch64.so ;;
    x86_64-unknown-linux-musl) file=librocksdbjni-linux64-musl.so ;;
    *) from_source "there is none ready built for $host." ;;
esac

# The library must be of the version that the crate was made for, and the headers are the crate's own. The metadata is one line of JSON.
metadata=$(cargo metadata --format-version 1 --locked --filter-platform "$host") || { say "cargo could not fetch the crates; its reason stands above."; exit 1; }
packages=$(printf '%s' "$metadata" | tr ',{}' '\n\n\n')
version=$(printf '%s\n' "$packages" | sed -n 's/.*librocksdb-sys@[0-9.]*+\([0-9]*\.[0-9]*\.[0-9]*\)".*/\1/p' | sort -u)
crate=$(printf '%s\n' "$packages" | sed -n 's/^"manifest_path":"\(.*librocksdb-sys[^/]*\)\/Cargo.toml"$/\1/p')
include=$crate/rocksdb/include
header=$(sed -n 's/^#define ROCKSDB_\(MAJOR\|MINOR\|PATCH\) \([0-9]*\)$/\2/p' "$include/rocksdb/version.h" | paste -sd .)
[ -n "$version" ] && [ "$header" = "$version" ] || from_source "the crate says version '$version', its headers say '$header'."

lib=$cache/$version/lib
if [ ! -e "$lib/librocksdb.so" ]; then
    command -v mvn >/dev/null && command -v unzip >/dev/null || from_source "Maven or unzip is missing."
    say "Fetching RocksDB $version, ready built (92 MB)."
    mkdir -p "$cache"
    part=$(mktemp -d "$cache/part.XXXXXX")
    trap 'rm -rf "$part"' EXIT
    mvn -q -B dependency:copy -Dartifact="org.rocksdb:rocksdbjni:$version" -DoutputDirectory="$part" >&2 || from_source "Maven could not fetch it."
    mkdir "$part/lib"
    # unzip checks the sum; what is half there never gets its final name.
    unzip -o -q "$part/rocksdbjni-$version.jar" "$file" -d "$part/lib" >&2 || from_source "the jar does not hold $file."
    rm "$part/rocksdbjni-$version.jar"
    ln -sf "$file" "$part/lib/librocksdb.so" # it has no SONAME: programs ask for the name they were linked with
    mkdir -p "$cache/$version"
    mv -T "$part/lib" "$lib" 2>/dev/null || [ -e "$lib/librocksdb.so" ] # somebody else may have been faster
fi
printf "export ROCKSDB_LIB_DIR='%s'\n" "$lib"
printf "export ROCKSDB_INCLUDE_DIR='%s'\n" "$include"
