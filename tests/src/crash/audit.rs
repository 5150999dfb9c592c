//! Reads what a job has committed, and what it has left on the disk.

use super::event::Script;
use super::job::Place;
use super::pieces::{in_order, linked};
use super::verdict::{Committed, SumRow, TimerRow, Verdict, WindowRow};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use thalweg_io::storage::PosixStorage;

/// Audits a job that has finished.
///
/// # Errors
/// If a directory cannot be read, or a row is no row.
///
/// `before` is what [`unneeded`] had found before the last start: a job that ends may leave state files for the next start
/// to remove, so what counts as left over is what a start has not removed.
/// If the job was rescaled, the order of the rows of a key is that of their pieces.
pub(super) fn audit(
    script: &Script,
    place: &Place,
    before: &[PathBuf],
    is_rescaled: bool,
) -> io::Result<Verdict> {
    let rows = if is_rescaled { committed_in_pieces(script, place)? } else { committed(place)? };
    let mut verdict = Verdict::of(script, &rows);
    judge_files(place, before, &mut verdict)?;
    Ok(verdict)
}

/// The rows that readers see.
fn committed(place: &Place) -> io::Result<Committed> {
    let Files { sums, windows, timers } = Files::of(place)?;
    Ok(Committed { sums: sums.concat(), windows: windows.concat(), timers: timers.concat() })
}

/// The same, of a job whose subtasks have had a key in turn.
fn committed_in_pieces(script: &Script, place: &Place) -> io::Result<Committed> {
    let Files { sums, windows, timers } = Files::of(place)?;
    Ok(Committed {
        sums: linked(sums, script),
        windows: in_order(windows, |row| row.key, |row| row.start),
        timers: in_order(timers, |row| row.key, |row| row.at),
    })
}

/// The rows of each file.
struct Files {
    sums: Vec<Vec<SumRow>>,
    windows: Vec<Vec<WindowRow>>,
    timers: Vec<Vec<TimerRow>>,
}

impl Files {
    fn of(place: &Place) -> io::Result<Self> {
        let sums = sums(place)?;
        let windows = rows(&place.windows().join("done"), |[key, start, count, sum]: [i64; 4]| {
            WindowRow { key: key as u64, start, count: count as u64, sum }
        })?;
        let timers = rows(&place.timers().join("done"), |[key, at, count]: [i64; 3]| TimerRow {
            key: key as u64,
            at,
            count: count as u64,
        })?;
        Ok(Files { sums, windows, timers })
    }
}

/// The rows of the records; those of a topic as one file.
fn sums(place: &Place) -> io::Result<Vec<Vec<SumRow>>> {
    let row = |[source, n, key, value, sum]: [i64; 5]| SumRow {
        source: source as u32,
        n: n as u64,
        key: key as u64,
        value,
        sum,
    };
    match &place.topic {
        None => rows(&place.sums(), row),
        #[cfg(feature = "kafka")]
        Some(topic) => {
            let lines = super::kafka::committed(topic);
            let rows = lines.iter().map(|line| row_of(line, &topic.name, row));
            Ok(vec![rows.collect::<io::Result<_>>()?])
        }
        #[cfg(not(feature = "kafka"))]
        Some(topic) => Err(io::Error::other(format!("no build to read topic {}", topic.name))),
    }
}

fn row_of<const N: usize, R>(
    line: &str,
    place: &str,
    row: impl Fn([i64; N]) -> R,
) -> io::Result<R> {
    let fields: Result<Vec<i64>, _> = line.split(',').map(str::parse).collect();
    let fields = fields.ok().and_then(|fields| fields.try_into().ok());
    Ok(row(fields.ok_or_else(|| io::Error::other(format!("{place}: '{line}' is no row")))?))
}

/// The rows of each file of a directory, in the order of the subtasks and of the files of each.
fn rows<const N: usize, R>(
    directory: &Path,
    row: impl Fn([i64; N]) -> R,
) -> io::Result<Vec<Vec<R>>> {
    let mut files = Vec::new();
    for path in list(directory)? {
        // Files in progress are nobody's; whether any are left is judged below.
        files.extend(order_of(&path).map(|order| (order, path)));
    }
    files.sort_unstable();
    let mut all = Vec::new();
    for (_, path) in files {
        let mut rows = Vec::new();
        for line in fs::read_to_string(&path)?.lines() {
            rows.push(row_of(line, &path.display().to_string(), &row)?);
        }
        all.push(rows);
    }
    Ok(all)
}

/// Subtask and number of a file `NAME-SUBTASK-NUMBER` or `NAME-SUBTASK-NUMBER.csv`.
fn order_of(path: &Path) -> Option<(u64, u64)> {
    let name = path.file_name()?.to_str()?;
    let mut parts = name.strip_suffix(".csv").unwrap_or(name).rsplit('-');
    let (number, subtask) = (parts.next()?, parts.next()?);
    Some((subtask.parse().ok()?, number.parse().ok()?))
}

/// State files that nothing refers to.
pub(super) fn unneeded(place: &Place) -> io::Result<Vec<PathBuf>> {
    let storage = Arc::new(PosixStorage::new());
    let report = thalweg::state::inspect(place.checkpoints(), storage, false);
    let report = report.map_err(io::Error::other)?;
    let unneeded = report.files().iter().filter(|file| file.stores().is_empty());
    Ok(unneeded.map(|file| file.path().to_path_buf()).collect())
}

/// Are there files that nobody needs?
fn judge_files(place: &Place, before: &[PathBuf], verdict: &mut Verdict) -> io::Result<()> {
    let mut leaked = Vec::new();
    for path in list(&place.sums())? {
        leaked.extend(order_of(&path).is_none().then_some(path));
    }
    leaked.extend(list(&place.windows().join("open"))?);
    leaked.extend(list(&place.timers().join("open"))?);
    // The last checkpoint says that the job has finished; all others are given up.
    let mut complete = list(&place.checkpoints().join("checkpoints"))?;
    complete.sort_unstable();
    complete.pop();
    leaked.extend(complete);
    let storage = Arc::new(PosixStorage::new());
    let report = thalweg::state::inspect(place.checkpoints(), storage, true);
    let report = report.map_err(io::Error::other)?;
    leaked.extend(unneeded(place)?.into_iter().filter(|path| before.contains(path)));
    verdict.leaked += leaked.len() as u64;
    for path in leaked.iter().take(3) {
        verdict.note(|| format!("{} is left over", path.display()));
    }
    if !report.is_sound() {
        verdict.wrong += 1;
        verdict.note(|| format!("the state is not sound: {report}"));
    }
    Ok(())
}

fn list(directory: &Path) -> io::Result<Vec<PathBuf>> {
    match fs::read_dir(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error),
        Ok(entries) => entries.map(|entry| Ok(entry?.path())).collect(),
    }
}
