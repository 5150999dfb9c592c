//! Which known name an unknown one was probably meant to be.

/// Names longer than this are compared with nothing: no key is, and the comparison is quadratic.
const LENGTH_MAX: usize = 64;

/// The known name nearest to `name`, if one is near enough to be a slip of the hand: at most a third of its letters
/// changed, left out, added or swapped, and never more than three. Case and `-` against `_` count as nothing.
pub(super) fn nearest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let wanted = normalised(name);
    if wanted.len() > LENGTH_MAX {
        return None;
    }
    let distance_max = (wanted.len() / 3).clamp(1, 3);
    known
        .into_iter()
        .map(|candidate| (distance(&wanted, &normalised(candidate)), candidate))
        .filter(|(distance, _)| *distance <= distance_max)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

fn normalised(name: &str) -> Vec<char> {
    name.chars().map(|c| if c == '-' { '_' } else { c.to_ascii_lowercase() }).collect()
}

/// Edits between two words, a swap of neighbours counting as one (optimal string alignment).
fn distance(left: &[char], right: &[char]) -> usize {
    let mut before = vec![0; right.len() + 1];
    let mut above: Vec<usize> = (0..=right.len()).collect();
    for (i, l) in left.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, r) in right.iter().enumerate() {
            let changed = above[j] + usize::from(l != r);
            let mut best = changed.min(above[j + 1] + 1).min(row[j] + 1);
            if i > 0 && j > 0 && *l == right[j - 1] && left[i - 1] == *r {
                best = best.min(before[j - 1] + 1);
            }
            row.push(best);
        }
        before = std::mem::replace(&mut above, row);
    }
    above[right.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    const KNOWN: [&str; 4] = ["parallelism", "max_parallelism", "slots", "seed"];

    #[track_caller]
    fn check(name: &str, expected: Option<&str>) {
        assert_eq!(nearest(name, KNOWN), expected);
    }

    #[test]
    fn slips_are_found() {
        check("paralelism", Some("parallelism"));
        check("parallelsim", Some("parallelism"));
        check("PARALLELISM", Some("parallelism"));
        check("max-parallelism", Some("max_parallelism"));
        check("slot", Some("slots"));
        check("sede", Some("seed"));
    }

    #[test]
    fn strangers_are_not() {
        check("windows", None);
        check("", None);
        check("sl", None);
        check(&"p".repeat(1_000_000), None);
    }

    #[test]
    fn distances() {
        let check = |left: &str, right: &str, expected| {
            assert_eq!(distance(&normalised(left), &normalised(right)), expected);
        };
        check("", "abc", 3);
        check("abc", "", 3);
        check("abc", "acb", 1);
        check("kitten", "sitting", 3);
        check("same", "same", 0);
    }
}
