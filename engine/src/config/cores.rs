//! [`CoreList`]: which cores the slots may use, written `0-3,6`.

use std::fmt;
use std::str::FromStr;

/// The largest core number a list may name; the kernel's own largest build has 8192 cores.
pub const CORE_MAX: usize = 8_191;

/// Cores in the order in which slots are placed on them.
///
/// **Invariants**: not empty, no core twice, none above [`CORE_MAX`].
///
/// ```
/// use thalweg::config::CoreList;
/// let cores: CoreList = "0-3,6".parse()?;
/// assert_eq!(cores.as_slice(), [0, 1, 2, 3, 6]);
/// assert_eq!(cores.to_string(), "0-3,6");
/// # Ok::<(), thalweg::config::CoreListError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct CoreList(Vec<usize>);

/// Why a text or a sequence is no list of cores.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CoreListError {
    /// No core at all.
    #[error("the list of cores is empty")]
    Empty,
    /// A part that is neither a number nor a range.
    #[error("'{part}' is neither a core nor a range of cores")]
    Malformed {
        /// The part between two commas.
        part: String,
    },
    /// A range whose end comes before its start.
    #[error("the range {first}-{last} runs backwards")]
    Backwards {
        /// Left of the dash.
        first: usize,
        /// Right of the dash.
        last: usize,
    },
    /// The same core a second time.
    #[error("core {core} is named twice")]
    Twice {
        /// The core.
        core: usize,
    },
    /// A number no machine has.
    #[error("core {core} is above {CORE_MAX}")]
    TooLarge {
        /// The core.
        core: usize,
    },
}

impl CoreList {
    /// A list of these cores in this order.
    ///
    /// # Errors
    /// If it is empty, names a core twice or one above [`CORE_MAX`].
    pub fn new(cores: impl IntoIterator<Item = usize>) -> Result<Self, CoreListError> {
        let mut named = vec![false; CORE_MAX + 1];
        let mut list = Vec::new();
        for core in cores {
            let seen = named.get_mut(core).ok_or(CoreListError::TooLarge { core })?;
            if std::mem::replace(seen, true) {
                return Err(CoreListError::Twice { core });
            }
            list.push(core);
        }
        if list.is_empty() { Err(CoreListError::Empty) } else { Ok(Self(list)) }
    }

    /// The cores in order.
    pub fn as_slice(&self) -> &[usize] {
        &self.0
    }

    /// How many they are; at least one.
    pub fn count(&self) -> usize {
        self.0.len()
    }
}

impl FromStr for CoreList {
    type Err = CoreListError;

    fn from_str(text: &str) -> Result<Self, CoreListError> {
        if text.trim().is_empty() {
            return Err(CoreListError::Empty);
        }
        let mut cores = Vec::new();
        for part in text.split(',') {
            let (first, last) = parse_part(part.trim())?;
            // Checked before the range is written out, so that no text makes a list larger than the machine.
            if last > CORE_MAX {
                return Err(CoreListError::TooLarge { core: last });
            }
            if cores.len() > CORE_MAX {
                return Err(CoreListError::Twice { core: first });
            }
            cores.extend(first..=last);
        }
        Self::new(cores)
    }
}

fn parse_part(part: &str) -> Result<(usize, usize), CoreListError> {
    let malformed = || CoreListError::Malformed { part: part.to_owned() };
    let number = |text: &str| {
        let text = text.trim();
        // `usize::from_str` also takes `+3`.
        if text.bytes().all(|b| b.is_ascii_digit()) { text.parse::<usize>().ok() } else { None }
            .ok_or_else(malformed)
    };
    let Some((first, last)) = part.split_once('-') else {
        let core = number(part)?;
        return Ok((core, core));
    };
    let (first, last) = (number(first)?, number(last)?);
    if first > last { Err(CoreListError::Backwards { first, last }) } else { Ok((first, last)) }
}

impl fmt::Display for CoreList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let runs = self.0.chunk_by(|left, right| left + 1 == *right);
        for (index, run) in runs.enumerate() {
            let separator = if index == 0 { "" } else { "," };
            match run {
                [first, .., last] => write!(f, "{separator}{first}-{last}")?,
                [only] => write!(f, "{separator}{only}")?,
                [] => {}
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: &[usize], written: &str) {
        let cores: CoreList = text.parse().unwrap();
        assert_eq!(cores.as_slice(), expected);
        assert_eq!(cores.to_string(), written);
        assert_eq!(cores.to_string().parse::<CoreList>().unwrap(), cores);
    }

    #[track_caller]
    fn refuse(text: &str, expected: CoreListError) {
        assert_eq!(text.parse::<CoreList>().unwrap_err(), expected);
    }

    #[test]
    fn lists_and_ranges() {
        check("0", &[0], "0");
        check("0-3,6", &[0, 1, 2, 3, 6], "0-3,6");
        check(" 4 , 1 - 2 ", &[4, 1, 2], "4,1-2");
        check("3,2,1", &[3, 2, 1], "3,2,1");
        check("2-2", &[2], "2");
    }

    #[test]
    fn what_is_no_list() {
        refuse("", CoreListError::Empty);
        refuse("1,,2", CoreListError::Malformed { part: String::new() });
        refuse("a", CoreListError::Malformed { part: "a".into() });
        refuse("-1", CoreListError::Malformed { part: "-1".into() });
        refuse("+1", CoreListError::Malformed { part: "+1".into() });
        refuse("1-2-3", CoreListError::Malformed { part: "1-2-3".into() });
        refuse("3-1", CoreListError::Backwards { first: 3, last: 1 });
        refuse("0-3,2", CoreListError::Twice { core: 2 });
        refuse("0-4000000000", CoreListError::TooLarge { core: 4_000_000_000 });
        assert!(vec!["0-8191"; 1_000].join(",").parse::<CoreList>().is_err());
        assert_eq!(CoreList::new([]).unwrap_err(), CoreListError::Empty);
    }
}
