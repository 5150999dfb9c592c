//! Counts words as they come: the first job of every stream processor.
//!
//! ```sh
//! cargo run --release --example word_count                  # a rhyme
//! cargo run --release --example word_count -- -p 4 FILE     # your own text, on four subtasks
//! ```
//!
//! 1. The source emits lines.
//! 2. `flat_map` cuts each line into words.
//! 3. `key_by_ref` sends a word always to the same subtask, whatever the parallelism.
//! 4. `scan` keeps a count for each word and emits every new one: a stream has no end at which to tell the total.
//! 5. `print` writes a line a record. `2> peter 4` reads: the second subtask has seen its fourth "peter".

use thalweg::config::{Argument, DeclaredArguments};
use thalweg::prelude::*;

const RHYME: &str = "\
Peter Piper picked a peck of pickled peppers.
A peck of pickled peppers Peter Piper picked.
If Peter Piper picked a peck of pickled peppers,
Where's the peck of pickled peppers Peter Piper picked?";

/// The words of a line, in lower case; an apostrophe belongs to its word.
fn words(line: &str) -> Vec<String> {
    line.split(|c: char| !c.is_alphanumeric() && c != '\'')
        .filter(|word| !word.is_empty())
        .map(str::to_lowercase)
        .collect()
}

/// Each word with the number of times it has been seen.
fn count_words(lines: DataStream<String>) -> DataStream<(String, u64)> {
    lines
        .flat_map(|line| words(&line))
        .key_by_ref(|word| word)
        .scan(0, |count, word| {
            *count += 1;
            (word, *count)
        })
        .name("count")
        .boxed()
}

fn main() -> thalweg::Result<()> {
    let declared = DeclaredArguments::new("Counts the words of a text as they come.")
        .with(Argument::positional("file").help("the text, plain or gzip; a rhyme if left out"));
    let (env, arguments) = StreamExecutionEnvironment::from_args_or_exit(&declared);

    let lines = match arguments.get("file") {
        Some(file) => env.from_source(FileSource::lines(file), "lines").boxed(),
        None => env.from_elements(RHYME.lines().map(str::to_owned)).boxed(),
    };
    count_words(lines).map(|(word, count)| format!("{word} {count}")).print();

    let result = env.execute("word count")?;
    let counted = result.metrics.vertices.last().expect("the job has a sink");
    let (words, subtasks) = (counted.total.records_in, counted.subtasks.len());
    println!("{words} words counted by {subtasks} subtasks in {:.1?}", result.runtime);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_cut_at_what_is_no_letter() {
        assert_eq!(words("Where's the peck -- of 2?"), ["where's", "the", "peck", "of", "2"]);
        assert!(words(" ,.").is_empty());
    }

    #[test]
    fn every_count_comes_once_at_any_parallelism() {
        for parallelism in [1, 2, 4] {
            let env = StreamExecutionEnvironment::new();
            env.set_parallelism(parallelism);
            let lines = env.from_elements(RHYME.lines().map(str::to_owned)).boxed();
            let counts = count_words(lines).collect();
            env.execute("word count").unwrap();
            let counts = counts.take_sorted();
            let peter = counts.iter().filter(|(word, _)| word == "peter").map(|(_, n)| *n);
            assert_eq!(peter.collect::<Vec<_>>(), [1, 2, 3, 4]);
            assert_eq!(counts.len(), words(RHYME).len());
        }
    }
}
