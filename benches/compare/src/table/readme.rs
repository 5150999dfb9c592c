//! Puts the summary between two comments of a README.

use super::report;
use crate::Error;
use std::path::Path;

const BEGIN: &str = "<!-- compare:begin -->";
const END: &str = "<!-- compare:end -->";

/// Replaces what is between the comments in the file.
pub(crate) fn write(path: &Path, summary: &str) -> Result<(), Error> {
    let text = std::fs::read_to_string(path)
        .map_err(|error| format!("{} cannot be read: {error}", path.display()))?;
    let replaced = replace(&text, summary).ok_or_else(|| {
        format!(
            "{} has no place for the table: add the lines '{BEGIN}' and '{END}'",
            path.display()
        )
    })?;
    report::write(path, &replaced)
}

fn replace(text: &str, summary: &str) -> Option<String> {
    let (before, rest) = text.split_once(BEGIN)?;
    let (_, after) = rest.split_once(END)?;
    Some(format!("{before}{BEGIN}\n{}\n{END}{after}", summary.trim_end()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_between_the_comments_changes() {
        let text = format!("a\n{BEGIN}\nold\n{END}\nb\n");
        let once = replace(&text, "new\n").unwrap();
        assert_eq!(once, format!("a\n{BEGIN}\nnew\n{END}\nb\n"));
        assert_eq!(replace(&once, "new").unwrap(), once);
        assert_eq!(replace("a", "new"), None);
    }
}
