//! `hotnames`: how many names are kept fresh, and what that may cost.

use super::super::corefile::{Directive, ServerBlock, Token};
use super::super::{ConfigError, HotNames, Position};
use super::arguments::{Arguments, error_at, number, unknown};

/// What `hotnames` means without arguments, and without being there.
pub(super) const HOT_NAMES: HotNames =
    HotNames { size: 1_000, refresh_per_second: 50, refresh_percent: 10 };

/// The `hotnames` of the process: whatever blocks have one, all say the same.
#[derive(Default)]
pub(super) struct Hot(Option<(Position, Option<HotNames>)>);

impl Hot {
    /// Reads the directive of one server block, if it is there.
    pub(super) fn read(&mut self, server: &ServerBlock) -> Result<(), ConfigError> {
        let Some(line) = server.directives.iter().find(|line| line.name == "hotnames") else {
            return Ok(());
        };
        let names = hotnames(line)?;
        match &self.0 {
            None => self.0 = Some((line.position.clone(), names)),
            Some((_, first)) if *first == names => {}
            Some((first, _)) => {
                let expected = format!("the same as at {first}: a process has one `hotnames`");
                return Err(error_at(&line.position, &line.name, &expected));
            }
        }
        Ok(())
    }

    /// What they say; `None`: off.
    pub(super) fn names(self) -> Option<HotNames> {
        self.0.map_or(Some(HOT_NAMES), |(_, names)| names)
    }
}

/// `hotnames [SIZE|off] { refresh PER_SECOND [PERCENT%] }`.
fn hotnames(line: &Directive) -> Result<Option<HotNames>, ConfigError> {
    let mut args = Arguments::of(line);
    let size = args.next();
    args.end()?;
    let mut hot = HOT_NAMES;
    for option in &line.body {
        match option.name.as_str() {
            "refresh" => refresh(&mut hot, &mut Arguments::of(option))?,
            _ => return Err(unknown(option, "options of hotnames", &["refresh"], &[])),
        }
    }
    match size {
        Some(token) if token.text == "off" => return Ok(None),
        Some(token) => {
            hot.size = number(token, 1..=SIZE_MAX, "how many names (or `off`)")? as usize;
        }
        None => {}
    }
    Ok(Some(hot))
}

fn refresh(hot: &mut HotNames, args: &mut Arguments<'_>) -> Result<(), ConfigError> {
    let what = "questions per second";
    hot.refresh_per_second = number(args.need(what)?, 0..=PER_SECOND_MAX, what)?;
    if let Some(token) = args.next() {
        hot.refresh_percent = percent(token)?;
    }
    args.finish()
}

fn percent(token: &Token) -> Result<u32, ConfigError> {
    let digits = token.text.strip_suffix('%').filter(|digits| !digits.starts_with('+'));
    let percent = digits.and_then(|digits| digits.parse().ok());
    percent
        .filter(|percent| *percent <= 100)
        .ok_or_else(|| token.error("a percentage from `0%` to `100%`"))
}

/// Names that can be followed.
const SIZE_MAX: u32 = 10_000;
/// More is no budget.
const PER_SECOND_MAX: u32 = 10_000;

#[cfg(test)]
mod tests {
    use super::super::tests::{config, error};

    /// Size, questions per second and percent.
    fn read(lines: &str) -> Option<(usize, u32, u32)> {
        let hot = config(&format!(". {{\n{lines}\n}}")).hot?;
        Some((hot.size, hot.refresh_per_second, hot.refresh_percent))
    }

    #[test]
    fn defaults_are_filled_in() {
        assert_eq!(read("errors"), Some((1000, 50, 10)));
        assert_eq!(read("hotnames"), Some((1000, 50, 10)));
        assert_eq!(read("hotnames {\n}"), Some((1000, 50, 10)));
    }

    #[test]
    fn size_and_budget_are_read() {
        assert_eq!(read("hotnames 1"), Some((1, 50, 10)));
        assert_eq!(read("hotnames 10000 {\n refresh 10000 100%\n}"), Some((10_000, 10_000, 100)));
        assert_eq!(read("hotnames {\n refresh 0 0%\n}"), Some((1000, 0, 0)));
        assert_eq!(read("hotnames {\n refresh 7\n}"), Some((1000, 7, 10)));
        assert_eq!(read("hotnames off"), None);
        assert_eq!(read("hotnames off {\n refresh 7 7%\n}"), None);
    }

    #[test]
    fn a_process_has_one() {
        let both = |first: &str, second: &str| {
            format!(". {{\nerrors\n}}\na {{\n{first}\n}}\nb {{\n{second}\n}}")
        };
        assert_eq!(config(&both("hotnames 5", "hotnames 5")).hot.map(|hot| hot.size), Some(5));
        assert_eq!(config(&both("hotnames off", "hotnames off")).hot, None);
        for (first, second) in [("hotnames", "hotnames off"), ("hotnames 5", "hotnames 6")] {
            let message = super::super::tests::refusal(&both(first, second));
            assert_eq!(
                message,
                "Corefile:8:1: found `hotnames`, expected the same as at Corefile:5:1: a process has one `hotnames`"
            );
        }
    }

    #[test]
    fn nonsense_is_refused_where_it_stands() {
        for (lines, expected) in [
            (
                "hotnames 0",
                "Corefile:2:10: found `0`, expected how many names (or `off`), a whole number (1 to 10000)",
            ),
            (
                "hotnames 10001",
                "Corefile:2:10: found `10001`, expected how many names (or `off`), a whole number (1 to 10000)",
            ),
            ("hotnames 1 2", "Corefile:2:12: found `2`, expected the end of `hotnames`"),
            (
                "hotnames {\n refersh 5\n}",
                "Corefile:3:2: found `refersh`, expected one of refresh (options of hotnames); did you mean `refresh`?",
            ),
            (
                "hotnames {\n refresh\n}",
                "Corefile:3:2: found nothing after `refresh`, expected questions per second",
            ),
            (
                "hotnames {\n refresh 10001\n}",
                "Corefile:3:10: found `10001`, expected questions per second, a whole number (0 to 10000)",
            ),
            (
                "hotnames {\n refresh 5 101%\n}",
                "Corefile:3:12: found `101%`, expected a percentage from `0%` to `100%`",
            ),
            (
                "hotnames {\n refresh 5 10\n}",
                "Corefile:3:12: found `10`, expected a percentage from `0%` to `100%`",
            ),
            (
                "hotnames {\n refresh 5 10% x\n}",
                "Corefile:3:16: found `x`, expected the end of `refresh`",
            ),
        ] {
            assert_eq!(error(lines), expected);
        }
    }
}
