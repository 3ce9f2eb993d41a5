//! The grammar of a Corefile, as CoreDNS has it from Caddy: text in, server blocks out.
//!
//! ```text
//! (shared) {                      a snippet, put in place by `import shared`
//!     errors
//! }
//! example.org:5300, example.com {  keys
//!     import shared
//!     cache 30 {                   a directive with arguments and a body
//!         success 1000
//!     }
//! }
//! ```
//!
//! Three steps: `lexer` cuts text into words and fills in `{$VARIABLE}`s, `expand` puts imports
//! and snippets in place, and this file groups what is left. No directive is known here. Everything
//! is bounded: octets and words of a file, imports and their depth, depth of braces.
//!
//! Where Caddy is stricter for no reason (`errors }` on one line, `a.org,b.org` without a space)
//! this accepts more; where it takes nonsense silently (an open quote at the end) this does not.

mod expand;
mod lexer;

use super::environment::Environment;
use super::{ConfigError, Position};

pub use expand::PLACEHOLDER_EXPECTED;
pub use lexer::Token;

/// Keys and the directives that belong to them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerBlock {
    /// The first key.
    pub position: Position,
    /// The keys (zones with ports), at least one, none empty, commas gone.
    pub keys: Vec<Token>,
    /// The directives in file order.
    pub directives: Vec<Directive>,
}

/// One line, and what stands in braces after it; lines in braces have the same form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Directive {
    /// Where the first word stands.
    pub position: Position,
    /// The first word.
    pub name: String,
    /// The other words.
    pub args: Vec<Token>,
    /// The lines in braces; empty without braces.
    pub body: Vec<Directive>,
}

/// Reads `text`, calling it `file` in positions and looking up its imports beside `file`.
pub fn parse(
    file: &str,
    text: &str,
    environment: &dyn Environment,
) -> Result<Vec<ServerBlock>, ConfigError> {
    parse_placed(file, text, &|_| {}, environment)
}

/// As [`parse`], for text that is not what the operator wrote: `place` tells each word of it (not
/// of its imports) where it stands in that, and how it was written there.
pub fn parse_placed(
    file: &str,
    text: &str,
    place: &dyn Fn(&mut Token),
    environment: &dyn Environment,
) -> Result<Vec<ServerBlock>, ConfigError> {
    let tokens = expand::expand(file, text, place, environment)?;
    let end = tokens.last().map_or_else(
        || Position { file: file.to_owned(), line: 1, column: 1 },
        |last| last.position.clone(),
    );
    let mut parser = Parser { tokens: tokens.into_iter().peekable(), end };
    let mut blocks = Vec::new();
    while parser.tokens.peek().is_some() {
        blocks.push(parser.block()?);
    }
    Ok(blocks)
}

struct Parser {
    tokens: std::iter::Peekable<std::vec::IntoIter<Token>>,
    /// The last token, where complaints about a missing one point to.
    end: Position,
}

impl Parser {
    fn block(&mut self) -> Result<ServerBlock, ConfigError> {
        let keys = self.keys()?;
        let position = keys[0].position.clone();
        let opening = self.tokens.next_if(Token::opens);
        let mut directives = Vec::new();
        while let Some(token) = self.tokens.next() {
            if !token.closes() {
                directives.push(self.directive(token, 0)?);
            } else if opening.is_some() {
                return Ok(ServerBlock { position, keys, directives });
            } else {
                return Err(token.error("a directive: no brace is open here"));
            }
        }
        match opening {
            // Without braces the one block of a file ends with the file.
            None => Ok(ServerBlock { position, keys, directives }),
            Some(opening) => Err(self.unclosed(&opening.position)),
        }
    }

    /// The words up to `{` or the end of the line; a final comma goes on to the next line.
    fn keys(&mut self) -> Result<Vec<Token>, ConfigError> {
        let mut keys = Vec::new();
        let mut after_comma = false;
        while let Some(token) = self.tokens.next_if(|token| {
            keys.is_empty() || after_comma || !(token.starts_line || token.opens())
        }) {
            if token.opens() || token.closes() {
                return Err(token.error(match after_comma {
                    true => "another zone after the comma",
                    false => "a zone such as `.` or `example.org:53`",
                }));
            }
            after_comma = !token.quoted && token.text.ends_with(',');
            keys.extend(token.split_at_commas());
            if keys.is_empty() && !after_comma && self.tokens.peek().is_none() {
                return Err(token.error("a zone such as `.` or `example.org:53`"));
            }
        }
        match keys.is_empty() || after_comma {
            false => Ok(keys),
            true => Err(self.missing("the end of the file", "a zone")),
        }
    }

    /// The rest of the line that `first` starts, and its body.
    fn directive(&mut self, first: Token, depth: usize) -> Result<Directive, ConfigError> {
        if first.opens() {
            return Err(first.error("a directive before the brace"));
        }
        let mut args = Vec::new();
        while let Some(token) =
            self.tokens.next_if(|token| !(token.starts_line || token.opens() || token.closes()))
        {
            args.push(token);
        }
        let body = match self.tokens.next_if(Token::opens) {
            Some(opening) => self.body(&opening, depth + 1)?,
            None => Vec::new(),
        };
        Ok(Directive { position: first.position, name: first.text, args, body })
    }

    fn body(&mut self, opening: &Token, depth: usize) -> Result<Vec<Directive>, ConfigError> {
        if depth > DEPTH_MAX {
            return Err(opening.error("at most 16 braces inside each other"));
        }
        let mut lines = Vec::new();
        while let Some(token) = self.tokens.next() {
            if !token.closes() {
                lines.push(self.directive(token, depth)?);
                continue;
            }
            return match self.tokens.peek() {
                Some(next) if !next.starts_line && !next.closes() => {
                    Err(next.error("a new line after `}`"))
                }
                _ => Ok(lines),
            };
        }
        Err(self.unclosed(&opening.position))
    }

    fn unclosed(&self, opening: &Position) -> ConfigError {
        self.missing("the end of the file", &format!("`}}` for the brace opened at {opening}"))
    }

    fn missing(&self, found: &str, expected: &str) -> ConfigError {
        ConfigError {
            position: self.end.clone(),
            found: found.to_owned(),
            expected: expected.to_owned(),
        }
    }
}

/// Braces inside each other; no directive needs more than two.
const DEPTH_MAX: usize = 16;

#[cfg(test)]
mod tests {
    use std::fmt::Write;

    use proptest::prelude::*;

    use super::super::environment::tests::Literal;
    use super::*;

    /// Writes what was understood in one line: `keys{name(args){body};...}`.
    fn understood(text: &str) -> String {
        match parse("Corefile", text, &Literal::default()) {
            Ok(blocks) => blocks.iter().map(show_block).collect::<Vec<_>>().join(" "),
            Err(error) => format!("error {error}"),
        }
    }

    fn show_block(block: &ServerBlock) -> String {
        let keys: Vec<_> = block.keys.iter().map(|key| key.text.as_str()).collect();
        format!("{}{{{}}}", keys.join(","), show_lines(&block.directives))
    }

    fn show_lines(lines: &[Directive]) -> String {
        let mut shown = String::new();
        for line in lines {
            let args: Vec<_> = line.args.iter().map(|arg| arg.text.as_str()).collect();
            let _ = write!(shown, "{}({})", line.name, args.join(","));
            if !line.body.is_empty() {
                let _ = write!(shown, "{{{}}}", show_lines(&line.body));
            }
            shown.push(';');
        }
        shown
    }

    #[test]
    fn blocks_have_keys_directives_and_bodies() {
        for (text, expected) in [
            ("", ""),
            (". {\n}", ".{}"),
            ("a:53 b, c\n{\n errors\n}", "a:53,b,c{errors();}"),
            ("a,\nb {\n}", "a,b{}"),
            ("a,b,c {\n}", "a,b,c{}"),
            (
                ". {\n cache 30 x {\n  success 1 2\n  denial 3\n }\n log\n}",
                ".{cache(30,x){success(1,2);denial(3);};log();}",
            ),
            (". { errors }", ".{errors();}"),
            (". {\n cache { success 1 } }", ".{cache(){success(1);};}"),
            ("a {\n}\nb {\n}", "a{} b{}"),
        ] {
            assert_eq!(understood(text), expected, "{text:?}");
        }
    }

    #[test]
    fn one_block_needs_no_braces() {
        assert_eq!(understood("example.org"), "example.org{}");
        assert_eq!(
            understood("example.org .\nerrors\ncache 5 {\n keepttl\n}\n"),
            "example.org,.{errors();cache(5){keepttl();};}"
        );
    }

    #[test]
    fn braces_that_do_not_match_are_named_with_both_places() {
        for (text, expected) in [
            (
                ". {\n errors\n",
                "Corefile:2:2: found the end of the file, expected `}` for the brace opened at Corefile:1:3",
            ),
            (
                ". {\n cache {\n",
                "Corefile:2:8: found the end of the file, expected `}` for the brace opened at Corefile:2:8",
            ),
            (
                ". {\n}\n}",
                "Corefile:3:1: found `}`, expected a zone such as `.` or `example.org:53`",
            ),
            (
                ".\nerrors\n}",
                "Corefile:3:1: found `}`, expected a directive: no brace is open here",
            ),
            ("a{\n}", "Corefile:1:1: found `a{`, expected a space before `{`"),
            ("{\n}", "Corefile:1:1: found `{`, expected a zone such as `.` or `example.org:53`"),
            (". {\n {\n }\n}", "Corefile:2:2: found `{`, expected a directive before the brace"),
            ("a, {\n}", "Corefile:1:4: found `{`, expected another zone after the comma"),
            ("a,", "Corefile:1:1: found the end of the file, expected a zone"),
            (". {\n cache {\n } x\n}", "Corefile:3:4: found `x`, expected a new line after `}`"),
        ] {
            assert_eq!(understood(text), format!("error {expected}"), "{text:?}");
        }
    }

    #[test]
    fn depth_is_bounded() {
        let deep =
            |depth: usize| format!(". {{\n{}{}}}", "a {\n".repeat(depth), "}\n".repeat(depth));
        assert!(!understood(&deep(16)).starts_with("error"));
        assert!(understood(&deep(17)).contains("expected at most 16 braces inside each other"));
        assert!(understood(&deep(100_000)).starts_with("error"));
    }

    #[test]
    fn an_empty_key_is_no_key() {
        assert_eq!(understood("\"\" a {\n}"), "a{}");
        assert!(understood("{$UNSET}").starts_with("error Corefile:1:1: found nothing"));
    }

    /// Words that mean something to the grammar, so that random sequences get far.
    fn word() -> impl Strategy<Value = String> {
        prop_oneof![
            Just("{".to_owned()),
            Just("}".to_owned()),
            Just("\n".to_owned()),
            Just("\"".to_owned()),
            Just("\\\"".to_owned()),
            Just("#".to_owned()),
            Just(",".to_owned()),
            Just("import s\n".to_owned()),
            Just("(s)".to_owned()),
            Just("{$V}".to_owned()),
            Just("{%V%}".to_owned()),
            "[a-z.:0-9]{1,5}",
            any::<char>().prop_map(String::from),
        ]
    }

    proptest! {
        #[test]
        fn random_words_never_panic(words in proptest::collection::vec(word(), 0..60)) {
            let environment = Literal::default().with_variable("V", "{ } {$V}");
            let _ = parse("Corefile", &words.join(" "), &environment);
            let _ = parse("Corefile", &words.concat(), &environment);
        }

        #[test]
        fn random_text_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = parse("Corefile", &String::from_utf8_lossy(&bytes), &Literal::default());
        }
    }
}
