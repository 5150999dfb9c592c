#!/usr/bin/env bash
# Flink and Hazelcast Jet: runs the peers' own scripts as they stand and turns their lines into JSON for `compare table --peers`.
#
#   peers.sh fetch DIR                 asks Maven for the jars: DIR/flink/*.jar and DIR/jet/hazelcast-*.jar; needs mvn
#   peers.sh measure OUT.json [PART..] parts: w1 w2 w3 w5 w6 jet nexmark (default: all but nexmark); needs javac and java
#
# Environment of `measure`:
#   PEERS       the directory with flink/run.sh and nexmark-flink/run.sh (required)
#   FLINK_JARS  a directory with the jars of a Flink distribution's lib/; without it Flink is left out
#   JET_JAR     hazelcast-5.x.jar; without it Jet is left out
#   ROUNDS      how often everything is run (default 1)
#   EVENTS      an event file for the part nexmark; NEXMARK the directory with its queries
#   RUN_S, WARM_S, HEAP, JOPT, PRIO   as the peers' scripts say: seconds a run and seconds of it that are not measured, JVM options
# Nothing is fetched but by `fetch`.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)

readonly FLINK_VERSION=2.3.0 HAZELCAST_VERSION=5.5.0

fail() {
    printf '%s\n' "$1" >&2
    exit 1
}

dependency() {
    printf '<dependency><groupId>%s</groupId><artifactId>%s</artifactId><version>%s</version></dependency>\n' "$@"
}

# copy_jars DIR < dependencies: they and what they need, by Maven with its own settings.
copy_jars() {
    local directory=$1 project
    project=$(mktemp -d)
    {
        printf '<project><modelVersion>4.0.0</modelVersion><groupId>compare</groupId><artifactId>jars</artifactId>'
        printf '<version>1</version><dependencies>\n'
        cat
        printf '</dependencies></project>\n'
    } >"$project/pom.xml"
    mvn --batch-mode --quiet --file "$project/pom.xml" dependency:copy-dependencies \
        -DincludeScope=runtime -DoutputDirectory="$directory"
    rm -r "$project"
}

fetch() {
    local directory
    mkdir -p "$1"
    directory=$(cd "$1" && pwd)
    {
        for artifact in flink-clients flink-streaming-java flink-table-api-java-uber flink-table-runtime \
            flink-table-planner-loader flink-statebackend-rocksdb; do
            dependency org.apache.flink "$artifact" "$FLINK_VERSION"
        done
        for artifact in log4j-api log4j-core log4j-slf4j-impl; do
            dependency org.apache.logging.log4j "$artifact" 2.24.3
        done
    } | copy_jars "$directory/flink"
    dependency com.hazelcast hazelcast "$HAZELCAST_VERSION" | copy_jars "$directory/jet"
    printf 'FLINK_JARS=%s JET_JAR=%s\n' "$directory/flink" "$directory"/jet/hazelcast-[0-9]*.jar
}

flink() {
    "$PEERS/flink/run.sh" "$@"
}

# The digests of small runs, which `compare peers` compares with the published ones.
check_flink() {
    local p backend
    flink ONE workload=w1 p=1 k=1000 n=300000 tag=check
    flink ONE workload=w1 p=1 k=1000 n=300000 backend=rocksdb tag=check
    for p in 1 2; do
        for backend in hashmap rocksdb; do
            flink ONE workload=w2 p=$p k=10000 n=3000000 backend=$backend tag=check
            flink ONE workload=w3 p=$p k=10000 n=600000 backend=$backend tag=check
        done
        flink ONE workload=w3sql p=$p k=10000 n=600000 tag=check
    done
}

check_jet() {
    local p
    flink ONEJET workload=w1 p=1 k=1000 n=300000 tag=check
    for p in 1 2; do
        flink ONEJET workload=w2 p=$p k=10000 n=3000000 tag=check
    done
}

nexmark() {
    local p
    [[ -n ${EVENTS:-} ]] || fail 'EVENTS is missing: the event file of the part nexmark'
    for p in 1 2; do
        "$PEERS/nexmark-flink/run.sh" bench "$EVENTS" "$p" "${RUN_S:-40}" "${WARM_S:-20}" \
            'q0 q1 q2 q3 q4 q5 q7 q8'
    done
}

part() {
    case $1 in
        jet) [[ -z ${JET_JAR:-} ]] || flink jetall ;;
        nexmark) [[ -z ${FLINK_JARS:-} ]] || nexmark ;;
        w1 | w2 | w3 | w5 | w6) [[ -z ${FLINK_JARS:-} ]] || flink "$1" ;;
        *) fail "unknown part '$1'; there are w1 w2 w3 w5 w6 jet nexmark" ;;
    esac
}

measure() {
    local json=$1 parts lines round name
    shift
    [[ -x ${PEERS:?PEERS is the directory with flink/run.sh}/flink/run.sh ]] || fail "$PEERS has no flink/run.sh"
    [[ -n ${FLINK_JARS:-}${JET_JAR:-} ]] || fail 'neither FLINK_JARS nor JET_JAR is set'
    parts=("$@")
    ((${#parts[@]} > 0)) || parts=(w1 w2 w3 w5 w6 jet)
    BENCH_DIR=${BENCH_DIR:-$(mktemp -d)}
    export BENCH_DIR
    lines=${json%.json}.lines
    : >"$lines"
    {
        [[ -z ${FLINK_JARS:-} ]] || check_flink
        [[ -z ${JET_JAR:-} ]] || check_jet
        for ((round = 0; round < ${ROUNDS:-1}; round++)); do
            for name in "${parts[@]}"; do
                part "$name"
            done
        done
    } | tee -a "$lines"
    (cd "$here" && cargo build --release --quiet)
    "$here/target/release/thalweg-compare" peers --lines "$lines" --json "$json"
}

case ${1:-} in
    fetch) fetch "${2:?where to}" ;;
    measure) shift && measure "${@:?the name of the JSON file}" ;;
    *) sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//;p}' "$0" ;;
esac
