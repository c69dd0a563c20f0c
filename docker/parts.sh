#!/bin/sh
# Parts that tests need and that are not ours: brings one by name into the cache, when it is not there yet, and prints where it is.
#
#   docker/parts.sh avro        Avro's Java library (Maven); prints a class path of it and of Kafka's client
#   docker/parts.sh kafkajs     a Kafka client and an Avro library in JavaScript (npm); prints the value of NODE_PATH
#   docker/parts.sh prism       the judge of requests by OpenAPI descriptions (npm); prints its program
#   docker/parts.sh twilio      Twilio's Python library (PyPI); prints the value of PYTHONPATH
#   docker/parts.sh promtool    Prometheus' tool, which this machine must have; prints its program
#   docker/parts.sh registry    Apicurio Registry (Maven); prints its folder
#   docker/parts.sh java21      a Java of version 21 or newer, which this machine must have; prints its program
#
# A part that cannot be had ends with an error that says what to type. Everything but the answer goes to stderr.
set -eu
cd "$(dirname "$0")/.."
cache=${RECADO_CACHE:-$HOME/.cache/recado}
avro=1.12.1 kafkajs=2.2.4 lz4=1.2.1 avsc=5.7.9 prism=5.14.2 twilio=9.13.0 apicurio=3.3.3

say() { printf '%s\n' "$*" >&2; }
need() { command -v "$1" >/dev/null || { say "$1 is missing. Type: $2"; exit 1; }; }

# What is half there never gets its final name; somebody else may have been faster.
begin() { mkdir -p "$(dirname "$1")" && mktemp -d "$1.part.XXXXXX"; }
finish() { mv -T "$1" "$2" 2>/dev/null || [ -d "$2" ]; rm -rf "$1"; }

maven() { # maven FOLDER ARTIFACT
    [ ! -d "$1" ] || return 0
    need mvn docker/deps.sh\ test
    say "Fetching $2."
    part=$(begin "$1")
    mvn -q -B dependency:copy -Dartifact="$2" -DoutputDirectory="$part" >&2
    finish "$part" "$1"
}

npm_install() { # npm_install FOLDER PACKAGE ...
    folder=$1 && shift
    [ ! -d "$folder" ] || return 0
    need npm docker/deps.sh\ conformance
    say "Fetching $*."
    part=$(begin "$folder")
    npm install --silent --no-audit --no-fund --prefix "$part" "$@" >&2
    finish "$part" "$folder"
}

case ${1:-} in
    avro)
        maven "$cache/avro/$avro" "org.apache.avro:avro:$avro"
        printf '%s/*:%s/*\n' "$cache/avro/$avro" "$(docker/kafka.sh libs)"
        ;;
    kafkajs)
        npm_install "$cache/npm/kafkajs-$kafkajs" "kafkajs@$kafkajs" "kafkajs-lz4@$lz4" "avsc@$avsc"
        printf '%s\n' "$cache/npm/kafkajs-$kafkajs/node_modules"
        ;;
    prism)
        npm_install "$cache/npm/prism-$prism" "@stoplight/prism-cli@$prism"
        printf '%s\n' "$cache/npm/prism-$prism/node_modules/.bin/prism"
        ;;
    twilio)
        need python3 docker/deps.sh\ conformance
        need python3 docker/deps.sh\ conformance
        folder=$cache/python/twilio-$twilio-$(python3 -c 'import sys; print(*sys.version_info[:2], sep=".")')
        if [ ! -d "$folder" ]; then
            say "Fetching twilio $twilio."
            part=$(begin "$folder")
            # A folder of packages, no venv: a venv cannot be moved to its final name.
            python3 -m venv "$part/pip" >&2
            "$part/pip/bin/pip" install -q --disable-pip-version-check --target "$part/packages" "twilio==$twilio" >&2
            rm -rf "$part/pip"
            finish "$part" "$folder"
        fi
        printf '%s\n' "$folder/packages"
        ;;
    promtool)
        need promtool 'docker/deps.sh conformance'
        command -v promtool
        ;;
    registry)
        folder=$cache/registry/$apicurio
        if [ ! -d "$folder" ]; then
            need mvn docker/deps.sh\ test
            say "Fetching Apicurio Registry $apicurio (158 MB)."
            part=$(begin "$folder")
            mvn -q -B dependency:copy -Dartifact="io.apicurio:apicurio-registry-app:$apicurio:tar.gz:all" -DoutputDirectory="$part" >&2
            tar -xzf "$part"/*.tar.gz -C "$part"
            rm "$part"/*.tar.gz
            finish "$part" "$folder"
        fi
        printf '%s\n' "$folder"
        ;;
    java21)
        for java in ${JAVA_HOME:+"$JAVA_HOME/bin/java"} /usr/lib/jvm/*/bin/java "$(command -v java || true)"; do
            [ -x "$java" ] || continue
            version=$("$java" -version 2>&1 | sed -n 's/.*version "\([0-9]*\).*/\1/p' | head -n 1)
            if [ "${version:-0}" -ge 21 ]; then printf '%s\n' "$java"; exit 0; fi
        done
        say "Apicurio Registry needs a Java of version 21 or newer, and there is none under /usr/lib/jvm. Type, on Debian 13 or Ubuntu 24.04 and newer:"
        say "  sudo apt-get install -y --no-install-recommends openjdk-21-jre-headless"
        say "On an older one unpack any JDK 21 or newer under /usr/lib/jvm."
        exit 1
        ;;
    *) sed -n '2,/^set -eu/{/^set -eu/d;s/^# \{0,1\}//p}' "$0" >&2; exit 2 ;;
esac
