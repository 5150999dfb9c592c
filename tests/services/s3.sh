#!/usr/bin/env bash
# A server that speaks S3, for tests: moto's (from PyPI), all in memory, gone when it stops. Any keys will do; the bucket
# `bucket` exists. An ordinary process on 127.0.0.1; nothing is installed outside the cache.
#
#   s3.sh fetch              install it into the cache
#   s3.sh start DIR [PORT]   and return when it answers; its log and process id are in DIR (port: 19000)
#   s3.sh stop DIR
#
# THALWEG_SERVICES is the cache (default ~/.cache/thalweg-services). Needs python3 with venv, curl and setsid.
set -euo pipefail

readonly VERSION=5.2.5
readonly CACHE=${THALWEG_SERVICES:-$HOME/.cache/thalweg-services}
readonly VENV=$CACHE/moto-$VERSION

die() {
    printf 's3.sh: %s\n' "$*" >&2
    exit 1
}

# An environment of pip stays where it was made, so it is made in place, and marked when it is complete.
fetch() {
    mkdir -p "$CACHE"
    (
        flock 9
        [[ -e $VENV/complete ]] && exit 0
        python3 -m venv --clear "$VENV" >"$CACHE/moto.log" 2>&1 &&
            "$VENV/bin/pip" install --quiet "moto[server,s3]==$VERSION" >>"$CACHE/moto.log" 2>&1 ||
            {
                tail -n 20 "$CACHE/moto.log" >&2
                die 'moto cannot be installed'
            }
        touch "$VENV/complete"
    ) 9>"$CACHE/moto.lock"
}

alive() { [[ -s $1/s3.pid ]] && kill -0 "$(<"$1/s3.pid")" 2>/dev/null; }

start() {
    local directory=$1 port=$2 until=$((SECONDS + 60))
    if (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; then
        die "port $port is in use"
    fi
    rm -f "$directory/s3.pid"
    setsid -f bash -c 'echo $$ >"$1"; shift; exec "$@"' _ "$directory/s3.pid" \
        "$VENV/bin/python" -m moto.server -H 127.0.0.1 -p "$port" >"$directory/s3.log" 2>&1 </dev/null
    # The bucket is made by the first request that is answered.
    until curl -sf -o /dev/null -X PUT "http://127.0.0.1:$port/bucket" \
        -H 'Authorization: AWS4-HMAC-SHA256 Credential=test/20260101/us-east-1/s3/aws4_request, SignedHeaders=host, Signature=0'; do
        sleep 0.1
        if ((SECONDS > until)) || { [[ -s $directory/s3.pid ]] && ! alive "$directory"; }; then
            tail -n 20 "$directory/s3.log" >&2
            stop "$directory"
            die 'it does not answer'
        fi
    done
    printf 's3.sh: ready at http://127.0.0.1:%s\n' "$port"
}

stop() {
    local pid
    alive "$1" || return 0
    pid=$(<"$1/s3.pid")
    kill -TERM "$pid" 2>/dev/null || true
    for _ in {1..100}; do
        kill -0 "$pid" 2>/dev/null || break
        sleep 0.1
    done
    kill -KILL "$pid" 2>/dev/null || true
    rm -f "$1/s3.pid"
}

case ${1:-} in
fetch) fetch ;;
start)
    (($# >= 2)) || die 'start DIR [PORT]'
    fetch
    mkdir -p "$2"
    start "$(cd "$2" && pwd)" "${3:-19000}"
    ;;
stop)
    (($# == 2)) || die 'stop DIR'
    [[ ! -d $2 ]] || stop "$(cd "$2" && pwd)"
    ;;
*) die 'fetch | start DIR [PORT] | stop DIR' ;;
esac
