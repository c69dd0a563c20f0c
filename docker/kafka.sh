#!/bin/sh
# Apache Kafka without Docker: its jars from Maven Central, one or three nodes on this machine, each broker and controller in one.
#
#   docker/kafka.sh libs                      fetches the jars when they are not there yet, and prints their folder
#   docker/kafka.sh start N DIR [PORT ...]    starts N nodes with their data, logs and pid files in DIR, waits until all of them serve, prints the
#                                             client addresses; a node's ports are broker, controller, clients: 3 × N of them, default n9092 n9093 n9094
#   docker/kafka.sh node I DIR                starts node I again (after a kill), without waiting
#   docker/kafka.sh stop DIR                  stops them: by pid file, gently, after 10 s for certain
#
# Environment of `start`:
#   KAFKA_ADVERTISED="PORT ..."   the client ports to advertise, one a node: where a proxy listens
#   KAFKA_ADVERTISED_INSIDE="PORT ..."   the same for the ports by which the brokers reach each other
#   KAFKA_EXTRA="key=value ..."   more broker settings, without spaces in the values
#   KAFKA_CLOCK=ms                the last node's wall clock is ahead by so much (docker/wrong_clock.c; needs a C compiler)
#   KAFKA_JAVA="option ..."       how Java compiles; without it, for a quick start rather than for speed
#   KAFKA_SECURE=1                clients need TLS and SCRAM-SHA-512: DIR/tls/ca.pem is the CA, the users are recado, intruder, recado-engine,
#                                 recado-dispatcher and recado-gateway, each with its name and -secret as password
set -eu
here=$(cd "$(dirname "$0")" && pwd)
version=4.3.1
cache=${RECADO_CACHE:-$HOME/.cache/recado}/kafka/$version
libs=$cache/libs
id=cmVjYWRvLXRlc3QtMDAwMQ # any 16 bytes as base64url, the same on all nodes

say() { printf '%s\n' "$*" >&2; }

fetch() {
    [ ! -d "$libs" ] || return 0
    command -v mvn >/dev/null || { say "Maven is missing. Type: docker/deps.sh test"; exit 1; }
    say "Fetching Apache Kafka $version (126 MB)."
    mkdir -p "$cache"
    part=$(mktemp -d "$cache/part.XXXXXX")
    cat > "$part/pom.xml" <<POM
<project><modelVersion>4.0.0</modelVersion><groupId>recado</groupId><artifactId>kafka</artifactId><version>1</version><packaging>pom</packaging><dependencies>
<dependency><groupId>org.apache.kafka</groupId><artifactId>kafka_2.13</artifactId><version>$version</version></dependency>
<dependency><groupId>org.apache.kafka</groupId><artifactId>kafka-tools</artifactId><version>$version</version></dependency>
<dependency><groupId>org.apache.kafka</groupId><artifactId>kafka-streams</artifactId><version>$version</version></dependency>
<dependency><groupId>org.apache.logging.log4j</groupId><artifactId>log4j-slf4j-impl</artifactId><version>2.25.5</version></dependency>
<dependency><groupId>org.apache.logging.log4j</groupId><artifactId>log4j-core</artifactId><version>2.25.5</version></dependency>
</dependencies></project>
POM
    (cd "$part" && mvn -q -B dependency:copy-dependencies -DincludeScope=runtime -DoutputDirectory="$part/libs" >&2)
    # Maven checks each sum and ends with an error when one jar is missing; what is half there never gets its final name.
    mv -T "$part/libs" "$libs" 2>/dev/null || [ -d "$libs" ] # somebody else may have been faster
    rm -rf "$part"
}

java_run() { # java_run DIR [option ...] CLASS [argument ...]
    java_dir=$1 && shift
    java -XX:TieredStopAtLevel=1 -Dlog4j2.configurationFile="$java_dir/log4j2.properties" -Dkafka.logs.dir="$java_dir/logs" -cp "$libs/*" "$@"
}

certificates() { # certificates DIR: a CA and a server certificate for 127.0.0.1 and localhost, made with the JDK's own tool
    tls=$1/tls
    [ ! -e "$tls/ca.pem" ] || return 0
    mkdir -p "$tls"
    key="keytool -storetype PKCS12 -storepass recado-tls -keypass recado-tls -noprompt"
    $key -genkeypair -keystore "$tls/ca.p12" -alias ca -dname CN=recado-test-ca -ext bc:c -keyalg EC -groupname secp256r1 -validity 3650 2>/dev/null
    $key -exportcert -rfc -keystore "$tls/ca.p12" -alias ca -file "$tls/ca.pem" 2>/dev/null
    $key -genkeypair -keystore "$tls/server.p12" -alias server -dname CN=localhost -keyalg EC -groupname secp256r1 -validity 3650 2>/dev/null
    $key -certreq -keystore "$tls/server.p12" -alias server -file "$tls/server.csr" 2>/dev/null
    $key -gencert -rfc -keystore "$tls/ca.p12" -alias ca -infile "$tls/server.csr" -outfile "$tls/server.pem" -validity 3650 \
        -ext san=dns:localhost,ip:127.0.0.1 2>/dev/null
    $key -importcert -keystore "$tls/server.p12" -alias ca -file "$tls/ca.pem" 2>/dev/null
    $key -importcert -keystore "$tls/server.p12" -alias server -file "$tls/server.pem" 2>/dev/null
}

wrong_clock() { # wrong_clock I DIR: the variables that make this node's wall clock wrong, if it is to be
    [ -n "${KAFKA_CLOCK:-}" ] && [ ! -e "$2/node$(($1 + 1)).properties" ] || return 0
    cc -shared -fPIC -O2 -o "$2/wrong_clock.so" "$here/wrong_clock.c" || return 1
    printf 'LD_PRELOAD=%s WRONG_CLOCK_MS=%s' "$2/wrong_clock.so" "$KAFKA_CLOCK"
}

launch() { # launch I DIR: one node, in a session of its own, so that a signal to the caller's group does not reach it
    : > "$2/logs/node$1.out"
    faked=$(wrong_clock "$1" "$2")
    # shellcheck disable=SC2086  # words
    env $faked setsid java -Xms512m -Xmx512m -XX:+UseSerialGC ${KAFKA_JAVA:--XX:TieredStopAtLevel=1} -Dlog4j2.configurationFile="$2/log4j2.properties" -Dkafka.logs.dir="$2/logs" \
        -cp "$libs/*" kafka.Kafka "$2/node$1.properties" >> "$2/logs/node$1.out" 2>&1 < /dev/null &
    echo $! > "$2/node$1.pid"
}

start() {
    n=$1 dir=$2 && shift 2
    isr=$(((n + 1) / 2)) protocol=PLAINTEXT scram='' ports='' voters='' bootstrap='' broker='' controller='' client=''
    for i in $(seq "$n"); do ports="$ports ${1:-${i}9092} ${2:-${i}9093} ${3:-${i}9094}"; [ $# -lt 3 ] || shift 3; done
    fetch
    mkdir -p "$dir/logs"
    dir=$(cd "$dir" && pwd)
    running=0
    for i in $(seq "$n"); do
        if [ -e "$dir/node$i.pid" ] && kill -0 "$(cat "$dir/node$i.pid")" 2>/dev/null; then running=$((running + 1)); fi
    done
    if [ "$running" = "$n" ]; then say "Kafka already runs in $dir."; cat "$dir/bootstrap"; return 0; fi
    [ "$running" = 0 ] || { say "$running of $n nodes already run in $dir. Stop them first: docker/kafka.sh stop $dir"; exit 1; }
    printf '%s\n' appender.c.type=Console appender.c.name=c appender.c.layout.type=PatternLayout 'appender.c.layout.pattern=[%d] %p %c - %m%n' \
        rootLogger.level=WARN rootLogger.appenderRef.c.ref=c logger.ready.name=kafka.server.KafkaRaftServer logger.ready.level=INFO > "$dir/log4j2.properties"
    if [ -n "${KAFKA_SECURE:-}" ]; then
        protocol=SASL_SSL
        certificates "$dir"
        for user in recado intruder recado-engine recado-dispatcher recado-gateway; do
            scram="$scram --add-scram SCRAM-SHA-512=[name=$user,password=$user-secret]"
        done
    fi
    # shellcheck disable=SC2086  # words
    set -- $ports
    for i in $(seq "$n"); do eval "controller=\${$((i * 3 - 1))}"; voters=$voters${voters:+,}$i@127.0.0.1:$controller; done
    for i in $(seq "$n"); do
        eval "broker=\${$((i * 3 - 2))} controller=\${$((i * 3 - 1))} client=\${$((i * 3))}"
        advertised=$(printf '%s' "${KAFKA_ADVERTISED:-}" | cut -d ' ' -f "$i")
        inside=$(printf '%s' "${KAFKA_ADVERTISED_INSIDE:-}" | cut -d ' ' -f "$i")
        bootstrap=$bootstrap${bootstrap:+,}127.0.0.1:${advertised:-$client}
        properties=$dir/node$i.properties
        printf '%s\n' "node.id=$i" process.roles=broker,controller "controller.quorum.voters=$voters" "log.dirs=$dir/data/$i" \
            "listeners=BROKER://127.0.0.1:$broker,CONTROLLER://127.0.0.1:$controller,CLIENT://127.0.0.1:$client" inter.broker.listener.name=BROKER \
            "advertised.listeners=BROKER://127.0.0.1:${inside:-$broker},CLIENT://127.0.0.1:${advertised:-$client}" controller.listener.names=CONTROLLER \
            "listener.security.protocol.map=BROKER:PLAINTEXT,CLIENT:$protocol,CONTROLLER:PLAINTEXT" auto.create.topics.enable=false \
            "default.replication.factor=$n" "min.insync.replicas=$isr" "offsets.topic.replication.factor=$n" "transaction.state.log.replication.factor=$n" \
            "transaction.state.log.min.isr=$isr" "share.coordinator.state.topic.replication.factor=$n" "share.coordinator.state.topic.min.isr=$isr" \
            offsets.topic.num.partitions=4 transaction.state.log.num.partitions=4 transaction.abort.timed.out.transaction.cleanup.interval.ms=1000 \
            group.initial.rebalance.delay.ms=0 group.min.session.timeout.ms=6000 log.cleaner.dedupe.buffer.size=2097152 log.cleaner.backoff.ms=1000 \
            log.segment.bytes=67108864 num.network.threads=2 num.io.threads=2 num.replica.fetchers=1 background.threads=2 \
            num.recovery.threads.per.data.dir=1 > "$properties"
        if [ -n "$scram" ]; then
            printf '%s\n' sasl.enabled.mechanisms=SCRAM-SHA-512 "listener.name.client.ssl.keystore.location=$dir/tls/server.p12" \
                listener.name.client.ssl.keystore.type=PKCS12 listener.name.client.ssl.keystore.password=recado-tls \
                listener.name.client.scram-sha-512.sasl.jaas.config='org.apache.kafka.common.security.scram.ScramLoginModule required;' >> "$properties"
        fi
        # shellcheck disable=SC2086  # one line for each word
        [ -z "${KAFKA_EXTRA:-}" ] || printf '%s\n' $KAFKA_EXTRA >> "$properties"
        # shellcheck disable=SC2086  # words
        java_run "$dir" kafka.tools.StorageTool format --ignore-formatted -t "$id" -c "$properties" $scram > "$dir/logs/format$i.out" 2>&1 \
            || { say "Node $i could not be formatted: $dir/logs/format$i.out"; exit 1; }
    done
    for i in $(seq "$n"); do launch "$i" "$dir"; done
    printf '%s\n' "$bootstrap" > "$dir/bootstrap"
    tries=0
    for i in $(seq "$n"); do
        until grep -q 'Kafka Server started' "$dir/logs/node$i.out"; do
            tries=$((tries + 1))
            if [ $tries -gt 600 ] || ! kill -0 "$(cat "$dir/node$i.pid")" 2>/dev/null; then say "Node $i did not start: $dir/logs/node$i.out"; exit 1; fi
            sleep 0.1
        done
    done
    cat "$dir/bootstrap"
}

stop() {
    for file in "$1"/node*.pid; do
        [ -e "$file" ] || continue
        pid=$(cat "$file")
        kill "$pid" 2>/dev/null || true
    done
    # Stopped together, the last node waits for a quorum that is gone: after 10 s it is killed.
    for file in "$1"/node*.pid; do
        [ -e "$file" ] || continue
        pid=$(cat "$file") tries=0
        while kill -0 "$pid" 2>/dev/null; do
            tries=$((tries + 1))
            [ $tries -lt 100 ] || kill -9 "$pid" 2>/dev/null || true
            sleep 0.1
        done
        rm -f "$file"
    done
}

case ${1:-} in
    libs) fetch && printf '%s\n' "$libs" ;;
    start) shift && start "$@" ;;
    node) fetch && launch "$2" "$(cd "$3" && pwd)" ;;
    stop) stop "$2" ;;
    *) sed -n '2,/^set -eu/{/^set -eu/d;s/^# \{0,1\}//p}' "$0" >&2; exit 2 ;;
esac
