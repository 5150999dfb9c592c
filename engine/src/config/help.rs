//! The help text of a job and the reference page, both from the option table.

use std::fmt::Write as _;
use std::path::Path;

use super::arguments::{Argument, ArgumentForm, DeclaredArguments};
use super::option::{ConfigOption, DefaultValue, Scope};

/// What `--help` prints.
pub(super) fn help_text(
    options: &[ConfigOption],
    program: &str,
    declared: &DeclaredArguments,
) -> String {
    let mut lines = Vec::new();
    if !declared.about.is_empty() {
        lines.push(format!("{}\n", declared.about));
    }
    lines.push(usage(program, declared));
    if !declared.list.is_empty() {
        lines.push("\narguments of this job:".to_owned());
        lines.extend(declared.list.iter().map(argument_entry));
    }
    lines.push("\noptions of the engine, each also a key of the file and a variable:".to_owned());
    lines.extend(options.iter().map(option_entry));
    lines.push(entry("    --set KEY=VALUE", "sets a key as the file would"));
    lines.push(entry("-h, --help", "prints this text"));
    lines.push(
        "\nA later one wins: default, file, environment, command line, code. \
         Durations may end in us, ms, s, min, h, sizes in KiB, MiB, GiB.\n"
            .to_owned(),
    );
    lines.join("\n")
}

fn usage(program: &str, declared: &DeclaredArguments) -> String {
    let name = Path::new(program).file_name().and_then(|name| name.to_str()).unwrap_or("job");
    let mut usage = format!("usage: {name} [options]");
    let dashed = declared.list.iter().filter(|a| a.is_dashed() && a.required);
    let placed = declared.list.iter().filter(|a| a.form == ArgumentForm::Positional);
    let rest = declared.list.iter().filter(|a| a.form == ArgumentForm::Rest);
    for argument in dashed.chain(placed).chain(rest) {
        let written = argument.usage();
        usage += &if argument.required { format!(" {written}") } else { format!(" [{written}]") };
    }
    usage
}

fn entry(head: &str, text: &str) -> String {
    format!("  {head}\n        {text}")
}

fn argument_entry(argument: &Argument) -> String {
    let head = match argument.short {
        Some(short) if argument.is_dashed() => format!("-{short}, {}", argument.usage()),
        _ if argument.is_dashed() => format!("    {}", argument.usage()),
        _ => argument.usage(),
    };
    let mut text = argument.help.clone();
    if let Some(default) = &argument.default {
        let _ = write!(text, " [default: {default}]");
    } else if argument.required {
        text += " [required]";
    }
    if text.is_empty() { format!("  {head}") } else { entry(&head, text.trim_start()) }
}

fn option_entry(option: &ConfigOption) -> String {
    let short = option.short.map_or_else(|| "    ".to_owned(), |short| format!("-{short}, "));
    let head = format!("{short}--{} {}", option.flag, option.placeholder());
    let default = default_text(option);
    entry(&head, &format!("{} [{}; default: {default}]", option.description, option.env))
}

fn default_text(option: &ConfigOption) -> String {
    match option.default {
        DefaultValue::Unset(meaning) => format!("none, {meaning}"),
        DefaultValue::Text(text) => format!("{text} {}", option.unit.name()).trim_end().to_owned(),
        DefaultValue::AvailableCores => "the number of cores it may use".to_owned(),
    }
}

/// The reference page: a markdown table of every option.
pub fn reference_markdown() -> String {
    markdown(super::options())
}

fn markdown(options: &[ConfigOption]) -> String {
    let mut page = String::from(
        "| key | variable | flag | value | default | what it does |\n\
         | --- | --- | --- | --- | --- | --- |\n",
    );
    for option in options {
        let key = match option.scope {
            Scope::Everywhere => format!("`{}`", option.key),
            Scope::Start => "not in the file".to_owned(),
        };
        let short = option.short.map(|short| format!("`-{short}`, ")).unwrap_or_default();
        let cells = [
            key,
            format!("`{}`", option.env),
            format!("{short}`--{}`", option.flag),
            option.expected(),
            default_text(option),
            option.description.to_owned(),
        ];
        let cells = cells.map(|cell| cell.replace('|', "\\|"));
        let _ = writeln!(page, "| {} |", cells.join(" | "));
    }
    page
}

#[cfg(test)]
mod tests {
    use super::super::options;
    use super::*;

    #[test]
    fn help_names_every_option_and_argument() {
        let declared = DeclaredArguments::new("finds hot items")
            .with(Argument::option("top", "N").short('t').help("how many").default(3))
            .with(Argument::option("csv", "FILE").help("the input").required())
            .with(Argument::flag("quiet"))
            .with(Argument::positional("out").help("where to").required())
            .with(Argument::rest("more"));
        let text = help_text(options(), "/usr/bin/hot_items", &declared);
        let head = "finds hot items\n\nusage: hot_items [options] --csv FILE <out> [<more>..]\n";
        assert!(text.starts_with(head), "{text}");
        assert!(text.contains("\n  -t, --top N\n        how many [default: 3]\n"), "{text}");
        assert!(text.contains("\n      --csv FILE\n        the input [required]\n"), "{text}");
        assert!(text.contains("\n      --quiet\n  <out>\n        where to [required]\n"), "{text}");
        for option in options() {
            assert!(text.contains(&format!("--{} ", option.flag)), "{}", option.flag);
            assert!(text.contains(option.env) && text.contains(option.description));
        }
        assert!(text.contains("-p, --parallelism N\n"), "{text}");
        assert!(text.ends_with(".\n") && !text.contains("\n\n\n"), "{text}");
    }

    #[test]
    fn the_reference_has_a_row_for_every_option() {
        let page = reference_markdown();
        assert_eq!(page.lines().count(), options().len() + 2);
        let columns = |line: &str| line.replace("\\|", "").matches('|').count();
        assert!(page.lines().all(|line| columns(line) == 7), "{page}");
        let row = "| `spin_us` | `THALWEG_SPIN_US` | `--spin-us` | a duration from 0 to 1000000 us";
        assert!(page.contains(row), "{page}");
    }
}
