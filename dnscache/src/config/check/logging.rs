//! `log` and `errors`: what is written about queries.

use super::super::corefile::{Directive, Token};
use super::super::{ConfigError, Log};
use super::arguments::{Arguments, duration, error_at, unknown};
use super::{Warnings, zones};

/// `log [NAMES...] [FORMAT] { class CLASSES... shortcuts }`, added to what an earlier `log` of the block
/// says.
pub(super) fn log(
    line: &Directive,
    earlier: Option<Log>,
    warnings: &mut Warnings,
) -> Result<Log, ConfigError> {
    let mut names = line.args.as_slice();
    if let Some((last, before)) = names.split_last()
        && is_format(last)
    {
        if !KNOWN_FORMATS.contains(&last.text.as_str()) {
            warnings.add(&last.position, "queries are logged in the common format".to_owned());
        }
        names = before;
    }
    let mut log = Log {
        zones: zones::list(names)?,
        success: false,
        denial: false,
        error: false,
        shortcuts: false,
    };
    for option in &line.body {
        match option.name.as_str() {
            "class" => classes(&mut log, &mut Arguments::of(option))?,
            "shortcuts" => {
                Arguments::of(option).finish()?;
                log.shortcuts = true;
            }
            _ => return Err(unknown(option, "options of log", &["class", "shortcuts"], &[])),
        }
    }
    if !(log.success || log.denial || log.error) {
        (log.success, log.denial, log.error) = (true, true, true);
    }
    match earlier {
        None => Ok(log),
        Some(earlier) => joined(earlier, log, line),
    }
}

/// CoreDNS takes the second of two names for a format; a format has braces, a name has none.
fn is_format(token: &Token) -> bool {
    token.text.contains('{') || KNOWN_FORMATS.contains(&token.text.as_str())
}

fn classes(log: &mut Log, args: &mut Arguments<'_>) -> Result<(), ConfigError> {
    let expected = "`success`, `denial`, `error` or `all`";
    for token in args.need_rest(expected)? {
        match token.text.as_str() {
            "success" => log.success = true,
            "denial" => log.denial = true,
            "error" => log.error = true,
            "all" => (log.success, log.denial, log.error) = (true, true, true),
            _ => return Err(token.error(expected)),
        }
    }
    args.finish()
}

fn joined(mut earlier: Log, log: Log, line: &Directive) -> Result<Log, ConfigError> {
    let classes = |log: &Log| (log.success, log.denial, log.error);
    if classes(&earlier) != classes(&log) {
        let expected = "the same classes as in the first `log` of this block";
        return Err(error_at(&line.position, &line.name, expected));
    }
    earlier.shortcuts |= log.shortcuts;
    match earlier.zones.is_empty() || log.zones.is_empty() {
        // No zone means all of them.
        true => earlier.zones.clear(),
        false => earlier.zones.extend(log.zones),
    }
    Ok(earlier)
}

/// `errors [stdout] { consolidate DURATION REGEX [LEVEL] [show_first] }`. Errors that repeat are
/// consolidated by the logger itself, so the options are checked and not needed.
pub(super) fn errors(line: &Directive) -> Result<(), ConfigError> {
    let mut args = Arguments::of(line);
    if let Some(token) = args.next()
        && token.text != "stdout"
    {
        return Err(token.error("`stdout` or nothing"));
    }
    args.end()?;
    for option in &line.body {
        let mut args = Arguments::of(option);
        match option.name.as_str() {
            "consolidate" => consolidate(&mut args)?,
            "stacktrace" => {}
            _ => {
                return Err(unknown(
                    option,
                    "options of errors",
                    &["consolidate", "stacktrace"],
                    &[],
                ));
            }
        }
        args.finish()?;
    }
    Ok(())
}

fn consolidate(args: &mut Arguments<'_>) -> Result<(), ConfigError> {
    duration(args.need("how long to collect")?, "how long to collect")?;
    let pattern = args.need("a regular expression")?;
    if let Err(error) = regex::RegexBuilder::new(&pattern.text).size_limit(1 << 20).build() {
        // The explanation spans lines; its last one says what is wrong.
        let text = error.to_string();
        let reason = text.lines().last().unwrap_or_default().trim_start_matches("error: ");
        return Err(pattern.error(&format!("a regular expression ({reason})")));
    }
    let levels = "`warning`, `error`, `info` or `debug`";
    for token in args.rest() {
        if !["warning", "error", "info", "debug", "show_first"].contains(&token.text.as_str()) {
            return Err(token.error(levels));
        }
    }
    Ok(())
}

const KNOWN_FORMATS: [&str; 4] = ["{common}", "{combined}", "common", "combined"];

#[cfg(test)]
mod tests {
    use super::super::tests::{block, error, warnings};
    fn read(lines: &str) -> (usize, bool, bool, bool) {
        let log = block(lines).log.expect("log");
        (log.zones.len(), log.success, log.denial, log.error)
    }

    #[test]
    fn names_formats_and_classes_are_read() {
        assert_eq!(read("log"), (0, true, true, true));
        assert_eq!(read("log a b"), (2, true, true, true));
        assert_eq!(read("log {common}"), (0, true, true, true));
        assert_eq!(read("log . combined"), (1, true, true, true));
        assert_eq!(read("log . \"{remote} {name}\""), (1, true, true, true));
        assert_eq!(read("log {\n class denial error\n}"), (0, false, true, true));
        assert_eq!(read("log a {\n class all\n}"), (1, true, true, true));
        assert_eq!(read("log {\n}"), (0, true, true, true));
    }

    #[test]
    fn other_formats_are_written_as_common_aloud() {
        assert_eq!(warnings("log . {combined}"), [""; 0]);
        assert_eq!(
            warnings("log . \"{remote}\""),
            ["Corefile:2:7: queries are logged in the common format"]
        );
    }

    #[test]
    fn several_logs_of_one_class_are_joined() {
        assert_eq!(read("log a\nlog b"), (2, true, true, true));
        assert_eq!(read("log a\nlog"), (0, true, true, true));
        assert!(error("log a\nlog b {\n class error\n}").contains("the same classes"));
    }

    #[test]
    fn shortcuts_are_shown_if_one_log_of_a_block_wants_them() {
        let shows = |lines: &str| block(lines).log.expect("log").shortcuts;
        assert!(!shows("log"));
        assert!(shows("log {\n class error\n shortcuts\n}"));
        assert!(shows("log a {\n shortcuts\n}\nlog b"));
        assert!(shows("log a\nlog b {\n shortcuts\n}"));
        assert_eq!(read("log {\n shortcuts\n}"), (0, true, true, true));
        assert_eq!(
            error("log {\n shortcuts all\n}"),
            "Corefile:3:12: found `all`, expected the end of `shortcuts`"
        );
    }

    #[test]
    fn errors_take_consolidations() {
        assert!(block("errors").errors);
        assert!(
            block("errors stdout {\n stacktrace\n consolidate 5m \".* i/o timeout$\" warning\n}")
                .errors
        );
        for (lines, expected) in [
            ("errors file", "Corefile:2:8: found `file`, expected `stdout` or nothing"),
            (
                "errors {\n consolidate 5m\n}",
                "Corefile:3:14: found nothing after `5m`, expected a regular expression",
            ),
            (
                "errors {\n consolidate 5m (\n}",
                "Corefile:3:17: found `(`, expected a regular expression (unclosed group)",
            ),
            (
                "errors {\n consolidate 5m x loud\n}",
                "Corefile:3:19: found `loud`, expected `warning`, `error`, `info` or `debug`",
            ),
            (
                "errors {\n consolidated\n}",
                "Corefile:3:2: found `consolidated`, expected one of consolidate, stacktrace (options of errors); did you mean `consolidate`?",
            ),
        ] {
            assert_eq!(error(lines), expected);
        }
    }

    #[test]
    fn classes_are_named() {
        assert!(error("log {\n class\n}").contains("`success`, `denial`, `error` or `all`"));
        assert!(error("log {\n class some\n}").starts_with("Corefile:3:8: found `some`"));
    }
}
