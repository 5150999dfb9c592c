#!/usr/bin/env python3
"""Reference digests of the benchmark workloads w1, w2, w3, w4 and w7 for any number of events.

    python3 w_reference.py w1 --keys 1000 --events 300000   # one line, in the columns of the table
    python3 w_reference.py --verify                         # the published digests (about a minute)
    python3 w_reference.py --table                          # rewrites w_reference.csv beside this script
    python3 w_reference.py --table --check                  # recomputes it and compares

Plain sequential Python, written from the definition of the workloads and not from the engine:

- `splitmix64(x)`: x += 0x9E3779B97F4A7C15; z = x; z = (z ^ z>>30) * 0xBF58476D1CE4E5B9;
  z = (z ^ z>>27) * 0x94D049BB133111EB; z ^ z>>31, all modulo 2^64.
- Event i, from 0: r = splitmix64(i); key = r % K; value = r >> 48; ts_ms = i / 1000 (w3: i).
- `mix(a, b, c) = splitmix64(a + splitmix64(b + splitmix64(c)))`; digests are wrapping sums.

| name | rows of the output | `checksum` sums over rows | `final` sums over keys |
|---|---|---|---|
| w1 | (key, running sum of value) per event | key ^ sum | mix(key, last sum, events of key) |
| w2 | (key, end, count) of tumbling 1 s windows | mix(key, end, count) | - |
| w3 | the top 3 keys of each sliding 1 h / 5 min window, ties to the smaller key | mix(key, end, count) | - |
| w4 | (key, end, count) of session windows with gap 100 ms | mix(key, end, count) | - |
| w7 | (name, count, sum of cents) per event | - | mix(id, last count, last cents) |

`end` is the exclusive window end in milliseconds. Event time never runs backwards with one source,
so nothing is late and watermarks change only when a row appears, never which. Sessions that touch
merge, as in Flink (`TimeWindow.intersects` is inclusive): a gap of exactly 100 ms does not split.

The `checksum` of w1 depends on the order within a key, so it holds for one source in order; all the
other digests are independent of interleaving and hold at every parallelism.
"""

import argparse
import sys
from collections import Counter, defaultdict
from pathlib import Path

MASK = (1 << 64) - 1
TABLE = Path(__file__).resolve().parent / "w_reference.csv"
HEADER = "workload,keys,events,rows,checksum,final"

SECOND_MS = 1_000
HOT_WINDOW_MS = 3_600_000
HOT_SLIDE_MS = 300_000
SESSION_GAP_MS = 100
USERS = 10_000
BUY = 1  # the event kind r >> 62 that carries cents

DEFAULT_KEYS = {"w1": 1_000, "w2": 10_000, "w3": 10_000, "w4": 100_000, "w7": USERS}

# (workload, keys, events) -> the digests that Flink, Hazelcast Jet and a plain script agree on
# (w4: the script alone); None where none was published.
PUBLISHED = {
    ("w1", 1_000, 300_000): (None, "000001593bdb353e", "7c9f5a8c7ba1fa92"),
    ("w2", 10_000, 3_000_000): (30_000, "2b4b7389088a0654", None),
    ("w3", 10_000, 600_000): (39, "6c0342ea8f4185e6", None),
    ("w4", 100_000, 3_000_000): (1_125_193, "5a8ac29f93c7eb1e", None),
    ("w7", USERS, 300_000): (None, None, "a7352f4c8d63eeb7"),
}

# The published sizes, and smaller ones that a test reaches in milliseconds.
TABLED = [
    ("w1", 1_000, 20_000),
    ("w1", 1_000, 300_000),
    ("w1", 1_000_000, 300_000),
    ("w2", 10_000, 200_000),
    ("w2", 10_000, 3_000_000),
    ("w3", 10_000, 20_000),
    ("w3", 10_000, 600_000),
    ("w3", 100, 8_000_000),
    ("w4", 100_000, 200_000),
    ("w4", 100_000, 3_000_000),
    ("w7", USERS, 20_000),
    ("w7", USERS, 300_000),
]


def splitmix64(x):
    x = (x + 0x9E3779B97F4A7C15) & MASK
    z = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & MASK
    return z ^ (z >> 31)


def mix(a, b, c):
    inner = splitmix64((b + splitmix64(c)) & MASK)
    return splitmix64((a + inner) & MASK)


def w1(keys, events):
    sums, counts, checksum = defaultdict(int), Counter(), 0
    for i in range(events):
        r = splitmix64(i)
        key = r % keys
        sums[key] += r >> 48
        counts[key] += 1
        checksum += key ^ sums[key]
    final = sum(mix(key, total, counts[key]) for key, total in sums.items())
    return events, checksum, final


def w2(keys, events):
    counts = Counter()
    for i in range(events):
        window_end_ms = (i // 1_000 // SECOND_MS + 1) * SECOND_MS
        counts[splitmix64(i) % keys, window_end_ms] += 1
    return digest_of((key, end, count) for (key, end), count in counts.items())


def w3(keys, events):
    # Counted by slices of one slide: a window is the sum of its twelve slices.
    slices = defaultdict(Counter)
    for i in range(events):
        slices[i // HOT_SLIDE_MS][splitmix64(i) % keys] += 1
    slices_in_window = HOT_WINDOW_MS // HOT_SLIDE_MS
    rows = []
    for last in range(max(slices, default=-1) + slices_in_window):
        window = Counter()
        for index in range(last - slices_in_window + 1, last + 1):
            window.update(slices.get(index, ()))
        top = sorted(window.items(), key=lambda entry: (-entry[1], entry[0]))[:3]
        rows += [(key, (last + 1) * HOT_SLIDE_MS, count) for key, count in top]
    return digest_of(rows)


def w4(keys, events):
    times_by_key = defaultdict(list)
    for i in range(events):
        times_by_key[splitmix64(i) % keys].append(i // 1_000)
    return digest_of(
        (key, end, count) for key, times in times_by_key.items() for end, count in sessions(times)
    )


def sessions(times_ms):
    """(end, count) of the sessions of one key's ascending event times."""
    found, count = [], 0
    for before, at in zip([None, *times_ms], times_ms):
        if before is not None and at > before + SESSION_GAP_MS:
            found.append((before + SESSION_GAP_MS, count))
            count = 0
        count += 1
    found.append((times_ms[-1] + SESSION_GAP_MS, count))
    return found


def w7(keys, events):
    # The name is a function of the id, so keying by either groups alike.
    counts, cents = Counter(), Counter()
    for i in range(events):
        r = splitmix64(i)
        user = r % keys
        counts[user] += 1
        cents[user] += (r >> 32) & 0xFFFF if r >> 62 == BUY else 0
    return events, None, sum(mix(user, count, cents[user]) for user, count in counts.items())


def digest_of(rows):
    row_count = checksum = 0
    for row in rows:
        row_count += 1
        checksum += mix(*row)
    return row_count, checksum, None


WORKLOADS = {"w1": w1, "w2": w2, "w3": w3, "w4": w4, "w7": w7}


def hexadecimal(digest):
    return None if digest is None else f"{digest & MASK:016x}"


def reference(workload, keys, events):
    """(rows, checksum, final), digests as 16 hexadecimal digits or None where there is none."""
    rows, checksum, final = WORKLOADS[workload](keys, events)
    return rows, hexadecimal(checksum), hexadecimal(final)


def table_line(case):
    return ",".join("" if field is None else str(field) for field in (*case, *reference(*case)))


def verify():
    wrong = 0
    for case, published in PUBLISHED.items():
        found = reference(*case)
        agrees = all(want is None or want == have for want, have in zip(published, found))
        wrong += not agrees
        print("agrees" if agrees else f"WRONG, published {published}", *case, *found, flush=True)
    if wrong:
        sys.exit(f"{wrong} of {len(PUBLISHED)} published digests are not reproduced")


def table(check):
    text = "".join(line + "\n" for line in [HEADER, *map(table_line, TABLED)])
    if check and TABLE.read_text(encoding="ascii") != text:
        sys.exit(f"{TABLE}: differs from what this script computes")
    if not check:
        TABLE.write_text(text, encoding="ascii")
    print(text, end="")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("workload", nargs="?", choices=WORKLOADS)
    parser.add_argument("--keys", type=int)
    parser.add_argument("--events", type=int, default=300_000)
    parser.add_argument("--verify", action="store_true", help="reproduce the published digests")
    parser.add_argument("--table", action="store_true", help="write w_reference.csv")
    parser.add_argument("--check", action="store_true", help="with --table: compare, write nothing")
    arguments = parser.parse_args()
    if arguments.verify:
        verify()
    if arguments.table:
        table(arguments.check)
    if arguments.workload:
        keys = arguments.keys or DEFAULT_KEYS[arguments.workload]
        print(HEADER)
        print(table_line((arguments.workload, keys, arguments.events)))
    elif not (arguments.verify or arguments.table):
        parser.error("name a workload, or --verify, or --table")


if __name__ == "__main__":
    main()
