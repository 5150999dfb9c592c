#!/usr/bin/env bash
# A broker of Apache Kafka for tests: one process (KRaft, broker and controller in one JVM) on 127.0.0.1, data and log in a folder.
#
#   kafka.sh fetch             downloads what it needs, once
#   kafka.sh start DIR PORT    returns when the broker answers; its controller takes PORT + 1; DIR/kafka.pid has its process id
#   kafka.sh stop DIR          ends it; DIR may be started again, with its data, on the same port
#   kafka.sh needs             says what is missing here, and fails if something is
#
# Jars come from Maven Central by Maven, and are kept in $THALWEG_SERVICES (default ~/.cache/thalweg-services). Needs Maven and a Java
# runtime of version 17 or later.
set -euo pipefail

readonly VERSION=4.4.0 LOGGER=1.7.36 CLUSTER=AAAAAAAAAAAAAAAAAAAAAA
readonly CACHE=${THALWEG_SERVICES:-$HOME/.cache/thalweg-services}
readonly JARS=$CACHE/kafka-$VERSION
readonly START_SECONDS_MAX=${KAFKA_START_SECONDS:-120} STOP_SECONDS_MAX=15

die() {
    printf 'kafka.sh: %s\n' "$*" >&2
    exit 1
}

java_version() {
    java -version 2>&1 | sed -n 's/.*version "\([0-9]*\).*/\1/p' | head -n 1
}

needs() {
    local missing=()
    command -v java >/dev/null && (($(java_version) >= 17)) || missing+=('a Java runtime of version 17 or later')
    command -v mvn >/dev/null || [[ -d $JARS ]] || missing+=('Maven')
    if ((${#missing[@]} > 0)); then
        printf 'missing: %s\n' "$(IFS=,; echo "${missing[*]}")"
        return 1
    fi
}

# Several may begin at once, and one may be cut off: who has the lock downloads beside, and renames.
fetch() {
    [[ -d $JARS ]] && return
    needs >&2 || exit 1
    mkdir -p "$CACHE"
    (
        flock 9
        [[ -d $JARS ]] && exit
        rm -rf "$JARS.part"
        mkdir "$JARS.part"
        cat >"$JARS.part/pom.xml" <<POM
<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>thalweg</groupId><artifactId>services</artifactId><version>1</version><packaging>pom</packaging>
  <dependencies>
    <dependency><groupId>org.apache.kafka</groupId><artifactId>kafka_2.13</artifactId><version>$VERSION</version></dependency>
    <dependency><groupId>org.slf4j</groupId><artifactId>slf4j-simple</artifactId><version>$LOGGER</version></dependency>
  </dependencies>
</project>
POM
        mvn -B -q -f "$JARS.part/pom.xml" dependency:copy-dependencies -DincludeScope=runtime \
            -DoutputDirectory="$JARS.part" >"$CACHE/kafka-fetch.log" 2>&1 ||
            { tail -n 20 "$CACHE/kafka-fetch.log" >&2; die "Maven did not get Kafka $VERSION"; }
        mv "$JARS.part" "$JARS"
    ) 9>"$CACHE/kafka.lock"
}

is_listening() {
    (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null
}

# Brief times, so that tests of what times out do not take long. Records of tests are as old as 1970, and kept.
properties() {
    cat <<P
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:$((PORT + 1))
controller.listener.names=CONTROLLER
listeners=PLAINTEXT://127.0.0.1:$PORT,CONTROLLER://127.0.0.1:$((PORT + 1))
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
log.dirs=$DIR/data
num.partitions=1
auto.create.topics.enable=false
delete.topic.enable=true
num.network.threads=2
num.io.threads=4
log.retention.ms=-1
log.retention.check.interval.ms=1000
log.segment.delete.delay.ms=1000
offsets.topic.replication.factor=1
offsets.topic.num.partitions=4
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=4
transaction.abort.timed.out.transaction.cleanup.interval.ms=500
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
group.initial.rebalance.delay.ms=0
log.cleaner.dedupe.buffer.size=2097152
P
}

start() {
    local java_options="-Xmx${KAFKA_HEAP:-384m} -XX:+UseSerialGC -XX:TieredStopAtLevel=1"
    java_options+=' -Dorg.slf4j.simpleLogger.defaultLogLevel=warn'
    local port
    for port in "$PORT" $((PORT + 1)); do
        ! is_listening "$port" || die "port $port is taken"
    done
    properties >"$DIR/server.properties"
    if [[ ! -f $DIR/data/meta.properties ]]; then
        # shellcheck disable=SC2086
        java $java_options -cp "$JARS/*" kafka.tools.StorageTool format -t "$CLUSTER" \
            -c "$DIR/server.properties" >"$DIR/format.log" 2>&1 || { cat "$DIR/format.log" >&2; die 'its folder cannot be made'; }
    fi
    # That of a broker that was killed.
    rm -f "$DIR/kafka.pid"
    # A session of its own: signals to whoever called do not reach it.
    # shellcheck disable=SC2086
    setsid -f bash -c 'echo $$ >"$1"; shift; exec "$@"' _ "$DIR/kafka.pid" \
        java $java_options -cp "$JARS/*" kafka.Kafka "$DIR/server.properties" >>"$DIR/kafka.log" 2>&1 </dev/null
    local limit=$((SECONDS + START_SECONDS_MAX))
    until is_listening "$PORT"; do
        sleep 0.1
        if ((SECONDS > limit)); then
            tail -n 25 "$DIR/kafka.log" >&2
            stop
            die "it does not answer after $START_SECONDS_MAX s"
        fi
        if [[ -s $DIR/kafka.pid ]] && ! kill -0 "$(<"$DIR/kafka.pid")" 2>/dev/null; then
            tail -n 25 "$DIR/kafka.log" >&2
            die 'it ended before it answered'
        fi
    done
}

stop() {
    [[ -s $DIR/kafka.pid ]] || return 0
    local pid limit=$((SECONDS + STOP_SECONDS_MAX))
    pid=$(<"$DIR/kafka.pid")
    kill -CONT "$pid" 2>/dev/null || true
    kill -TERM "$pid" 2>/dev/null || true
    while kill -0 "$pid" 2>/dev/null; do
        ((SECONDS <= limit)) || kill -KILL "$pid" 2>/dev/null || true
        sleep 0.1
    done
    rm -f "$DIR/kafka.pid"
}

case "${1:-} $#" in
'needs 1') needs ;;
'fetch 1') fetch ;;
'start 3')
    fetch
    mkdir -p "$2"
    DIR=$(cd "$2" && pwd) PORT=$3
    start
    ;;
'stop 2')
    DIR=$2
    stop
    ;;
*) die 'usage: kafka.sh needs | fetch | start DIR PORT | stop DIR' ;;
esac
