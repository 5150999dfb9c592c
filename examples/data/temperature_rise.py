#!/usr/bin/env python3
"""Finds the alerts of examples/temperature_rise.rs in another way: no timers, but a search in each airport's list.

python3 examples/data/temperature_rise.py           # what the example's test expects
python3 examples/data/temperature_rise.py --all     # and each alert: time, airport, degrees from and to
"""

import csv
import gzip
import pathlib
import sys

HOUR_MS = 3_600_000
LASTING_MS = 10 * HOUR_MS


def alerts(readings):
    """The alerts of one airport's [(time, degrees)]."""
    at = 1
    while at < len(readings):
        began, begins_at = readings[at - 1][1], readings[at][0]
        if readings[at][1] <= began:
            at += 1
            continue
        # All readings of the ten hours; those at the very end count.
        span = [i for i in range(at, len(readings)) if readings[i][0] <= begins_at + LASTING_MS]
        falls = [i for i in span if readings[i][1] < readings[i - 1][1]]
        if falls:
            at = falls[0] + 1
        else:
            yield begins_at + LASTING_MS, began, readings[span[-1]][1]
            at = span[-1] + 1


def main():
    path = pathlib.Path(__file__).with_name("weather.csv.gz")
    with gzip.open(path, "rt", newline="") as file:
        rows = list(csv.DictReader(file))
    found = []
    for origin in sorted({row["origin"] for row in rows}):
        mine = [(int(r["observed_at_ms"]), float(r["temp_f"])) for r in rows if r["origin"] == origin]
        found += [(time, origin, began, last) for time, began, last in alerts(mine)]
        print(origin, sum(1 for alert in found if alert[1] == origin))
    print("hours", sum(time // HOUR_MS for time, *_ in found))
    print("hundredths of degrees", round(sum(last - began for *_, began, last in found) * 100))
    if "--all" in sys.argv[1:]:
        for alert in sorted(found):
            print(*alert)


main()
