#!/usr/bin/env python3
"""Expected result of the job "hot destinations", computed without any stream processor.

    python3 hot_items_oracle.py              # writes hot_items_expected.csv.gz beside this script
    python3 hot_items_oracle.py --check      # computes it in a second way and compares all three

The job: every 5 minutes, the top 3 destinations of the flights that left in the last hour. In
Flink's words: event time `departed_at_ms`, sliding windows of 1 h every 5 min aligned to the epoch,
count per destination, then the 3 largest counts of each window end, ties to the smaller code.

1. A flight at `t` belongs to every window `[start, start + 1 h)` with `start` a multiple of 5 min
   and `start <= t < start + 1 h`: to twelve of them.
2. A window exists if it holds at least one flight; an hour without departures has no rows, and a
   window with fewer than three destinations has fewer than three rows.
3. Watermarks do not appear here because they cannot matter: the file is sorted (asserted below), so
   with any bounded out-of-orderness (the job says 1 min) no flight is late, and the end of the
   input fires every window that is still open.

Output: `window_end_ms,rank,dest,count`, `window_end_ms` exclusive, rank from 1, sorted by both.

The two computations share only the reading of the file: the first hands each flight to its windows,
the second walks the window ends and cuts the hour before each out of the sorted departures.
"""

import argparse
import bisect
import collections
import gzip
import hashlib
import io
import sys
from pathlib import Path

WINDOW_MS = 60 * 60 * 1000
SLIDE_MS = 5 * 60 * 1000
TOP = 3
HEADER = "window_end_ms,rank,dest,count"
FOLDER = Path(__file__).resolve().parent
FLIGHTS = FOLDER.parent.parent / "examples" / "data" / "flights.csv.gz"
EXPECTED = FOLDER / "hot_items_expected.csv.gz"


def read_flights(path):
    """[(departed_at_ms, dest)] in file order, which must be ascending in time."""
    with gzip.open(path, "rt", encoding="ascii") as lines:
        columns = next(lines).rstrip("\n").split(",")
        departed, dest = columns.index("departed_at_ms"), columns.index("dest")
        rows = (line.rstrip("\n").split(",") for line in lines)
        flights = [(int(row[departed]), row[dest]) for row in rows]
    for before, after in zip(flights, flights[1:]):
        assert before[0] <= after[0], f"{path}: the departure at {after[0]} is out of order"
    return flights


def ranked(counts):
    """The first rows of one window: larger count first, then the smaller destination code."""
    return sorted(counts.items(), key=lambda entry: (-entry[1], entry[0]))[:TOP]


def by_assignment(flights):
    """Each flight is handed to all of its windows, as a window assigner does."""
    counts_by_end = collections.defaultdict(collections.Counter)
    for departed_ms, dest in flights:
        last_start = departed_ms - departed_ms % SLIDE_MS
        for start in range(last_start, departed_ms - WINDOW_MS, -SLIDE_MS):
            counts_by_end[start + WINDOW_MS][dest] += 1
    return [
        (end, rank, dest, count)
        for end in sorted(counts_by_end)
        for rank, (dest, count) in enumerate(ranked(counts_by_end[end]), 1)
    ]


def by_window_end(flights):
    """Each possible window end looks back over its hour."""
    times = [departed_ms for departed_ms, _ in flights]
    rows = []
    first_end = (times[0] // SLIDE_MS + 1) * SLIDE_MS
    for end in range(first_end, times[-1] + WINDOW_MS + 1, SLIDE_MS):
        low, high = bisect.bisect_left(times, end - WINDOW_MS), bisect.bisect_left(times, end)
        counts = collections.Counter(dest for _, dest in flights[low:high])
        rows += [(end, rank, *entry) for rank, entry in enumerate(ranked(counts), 1)]
    return rows


def text_of(rows):
    return "".join(line + "\n" for line in [HEADER, *(",".join(map(str, r)) for r in rows)]).encode()


def compressed(text):
    """Neither file name nor time in the header, so that equal text gives equal bytes."""
    buffer = io.BytesIO()
    with gzip.GzipFile(filename="", fileobj=buffer, mode="wb", compresslevel=9, mtime=0) as out:
        out.write(text)
    return buffer.getvalue()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="compare, write nothing")
    arguments = parser.parse_args()
    flights = read_flights(FLIGHTS)
    rows = by_assignment(flights)
    text = text_of(rows)
    if arguments.check:
        if by_window_end(flights) != rows:
            sys.exit("the two computations disagree")
        if gzip.decompress(EXPECTED.read_bytes()) != text:
            sys.exit(f"{EXPECTED}: differs from what {FLIGHTS} gives")
    else:
        EXPECTED.write_bytes(compressed(text))
    windows = len({end for end, *_ in rows})
    print(f"{len(flights)} flights, {windows} windows, {len(rows)} rows, {len(text)} bytes")
    print(f"sha256 of the text {hashlib.sha256(text).hexdigest()}")


if __name__ == "__main__":
    main()
