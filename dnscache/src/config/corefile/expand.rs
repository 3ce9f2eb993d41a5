//! Puts imports and snippets in place: words in, words out.
//!
//! `(name) { ... }` outside all blocks defines a snippet. `import X` at the start of a line is
//! replaced by the snippet X, or else by the words of the file X, or of every file that matches X
//! if its last part holds one `*` or `?`. Paths are relative to the file that holds the `import`.

use std::collections::HashMap;

use super::super::ConfigError;
use super::super::environment::Environment;
use super::lexer::{TOKENS_MAX, Token, lex};

/// The words of `text` with everything imported. `place` corrects those of `text` itself.
pub(super) fn expand(
    file: &str,
    text: &str,
    place: &dyn Fn(&mut Token),
    environment: &dyn Environment,
) -> Result<Vec<Token>, ConfigError> {
    let mut tokens = lex(file, text, environment)?;
    tokens.iter_mut().for_each(place);
    let mut expander = Expander {
        environment,
        snippets: HashMap::new(),
        imports: 0,
        braces: 0,
        out: Vec::with_capacity(tokens.len()),
    };
    expander.run(&tokens, 0)?;
    Ok(expander.out)
}

struct Expander<'a> {
    environment: &'a dyn Environment,
    snippets: HashMap<String, Vec<Token>>,
    /// Imports carried out so far.
    imports: usize,
    /// Braces open after the last word of `out`.
    braces: usize,
    out: Vec<Token>,
}

impl Expander<'_> {
    /// Appends `tokens`, which stand inside `depth` imports.
    fn run(&mut self, tokens: &[Token], depth: usize) -> Result<(), ConfigError> {
        let mut at = 0;
        while let Some(token) = tokens.get(at) {
            let rest = &tokens[at + 1..];
            if token.starts_line && token.is_plain("import") {
                let len = rest.iter().take_while(|next| continues_line(next)).count();
                self.import(token, &rest[..len], depth)?;
                at += 1 + len;
            } else if self.braces == 0
                && let Some(name) = snippet_name(token)
                && rest.first().is_some_and(Token::opens)
            {
                at += 1 + self.define(token, name, rest)?;
            } else {
                self.push(token)?;
                at += 1;
            }
        }
        Ok(())
    }

    fn push(&mut self, token: &Token) -> Result<(), ConfigError> {
        if self.out.len() >= TOKENS_MAX {
            return Err(token.error("fewer words: imports make this configuration too large"));
        }
        if PLACEHOLDERS.iter().any(|mark| token.text.contains(mark)) {
            return Err(token.error(PLACEHOLDER_EXPECTED));
        }
        if token.runs_into_brace() {
            return Err(token.error("a space before `{`"));
        }
        if token.opens() {
            self.braces += 1;
        } else if token.closes() {
            self.braces = self.braces.saturating_sub(1);
        }
        self.out.push(token.clone());
        Ok(())
    }

    /// Stores the snippet whose braces `rest` begins with; returns how many words it takes.
    fn define(&mut self, token: &Token, name: &str, rest: &[Token]) -> Result<usize, ConfigError> {
        let mut braces = 0_usize;
        for (at, next) in rest.iter().enumerate() {
            braces += usize::from(next.opens());
            braces -= usize::from(next.closes());
            if braces > 0 {
                continue;
            }
            let mut body = rest[1..at].to_vec();
            if let Some(first) = body.first_mut() {
                first.starts_line = true;
            }
            return match self.snippets.insert(name.to_owned(), body) {
                None => Ok(at + 1),
                Some(_) => Err(token.error("a snippet name that is not taken yet")),
            };
        }
        Err(token.error("`}` after the lines of this snippet"))
    }

    fn import(&mut self, word: &Token, args: &[Token], depth: usize) -> Result<(), ConfigError> {
        let what = "one snippet name, file or pattern after `import`";
        let [target] = args else {
            return Err(args.get(1).unwrap_or(word).error(what));
        };
        if target.text.is_empty() {
            return Err(target.error(what));
        }
        self.imports += 1;
        if depth >= DEPTH_MAX || self.imports > IMPORTS_MAX {
            return Err(
                target.error("imports at most 16 deep and 1,000 in all (does it import itself?)")
            );
        }
        if let Some(tokens) = self.snippets.get(&target.text) {
            let tokens = tokens.clone();
            return self.run(&tokens, depth + 1);
        }
        for path in self.files(target)? {
            let text = self.environment.read_file(&path).map_err(|reason| {
                let known = self.known_snippets();
                target.error(&format!(
                    "a snippet{known} or a file that can be read ({path}: {reason})"
                ))
            })?;
            let tokens = lex(&path, &text, self.environment)?;
            self.run(&tokens, depth + 1)?;
        }
        Ok(())
    }

    /// The paths a target stands for; a pattern may match none.
    fn files(&self, target: &Token) -> Result<Vec<String>, ConfigError> {
        let path = beside(&target.position.file, &target.text);
        let (directory, pattern) = path.rsplit_once('/').unwrap_or((".", &path));
        let wildcards = path.matches(['*', '?']).count();
        match (wildcards, pattern.contains(['*', '?'])) {
            (0, _) => return Ok(vec![path]),
            (1, true) => {}
            _ => return Err(target.error("at most one `*` or `?`, in the file name")),
        }
        // A directory that is not there holds no matching file, as with Caddy.
        let names = self.environment.file_names(directory).unwrap_or_default();
        let matching = names.into_iter().filter(|name| matches(pattern, name));
        Ok(matching.map(|name| format!("{directory}/{name}")).collect())
    }

    fn known_snippets(&self) -> String {
        let mut names: Vec<_> = self.snippets.keys().map(String::as_str).collect();
        names.sort_unstable();
        match names.is_empty() {
            true => String::new(),
            false => format!(" ({})", names.join(", ")),
        }
    }
}

fn continues_line(token: &Token) -> bool {
    !(token.starts_line || token.opens() || token.closes())
}

/// `name`, if the word is `(name)` at the start of a line.
fn snippet_name(token: &Token) -> Option<&str> {
    if !token.starts_line || token.quoted {
        return None;
    }
    token.text.strip_prefix('(')?.strip_suffix(')')
}

/// `path` as seen from the directory of `file`.
fn beside(file: &str, path: &str) -> String {
    match file.rsplit_once('/') {
        Some((directory, _)) if !path.starts_with('/') => format!("{directory}/{path}"),
        _ => path.to_owned(),
    }
}

/// Whether `name` matches a pattern with one `*` (any characters) or `?` (one character).
fn matches(pattern: &str, name: &str) -> bool {
    let Some((front, back)) = pattern.split_once(['*', '?']) else {
        return pattern == name;
    };
    let Some(middle) = name.strip_prefix(front).and_then(|rest| rest.strip_suffix(back)) else {
        return false;
    };
    pattern.contains('*') || middle.chars().count() == 1
}

/// What is expected in the place of a placeholder; who knows the template can say more.
pub const PLACEHOLDER_EXPECTED: &str = "a value in place of this placeholder";
/// What the templates of NodeLocal DNSCache are filled in at. One that is left means that a step
/// of the installation is missing.
const PLACEHOLDERS: [&str; 2] = ["__PILLAR__", "__PROMETHEUS__"];
/// Imports inside imports.
const DEPTH_MAX: usize = 16;
/// Imports in all: 16 deep is no bound if every level imports twice.
const IMPORTS_MAX: usize = 1000;

#[cfg(test)]
mod tests {
    use super::super::super::environment::tests::Literal;
    use super::*;

    fn expanded(text: &str) -> String {
        let environment = Literal::default()
            .file("conf/one", "errors\nlog")
            .file("conf/nested", "import one\nimport sub/two")
            .file("conf/sub/two", "import ../one-not-here")
            .file("conf/d/a.conf", "a")
            .file("conf/d/b.conf", "b")
            .file("conf/d/c.other", "c")
            .file("conf/self", "import self")
            .with_variable("WHICH", "one");
        match expand("conf/Corefile", text, &|_| {}, &environment) {
            Err(error) => format!("error {error}"),
            Ok(tokens) => {
                let mut lines = String::new();
                for token in tokens {
                    lines.push(if token.starts_line { '|' } else { ' ' });
                    lines.push_str(&token.text);
                }
                lines
            }
        }
    }

    #[test]
    fn snippets_are_put_in_place() {
        for (text, expected) in [
            ("(s) {\n errors\n log\n}\n. {\n import s\n cache\n}", "|. {|errors|log|cache|}"),
            ("(s) { errors }\n. {\n import s\n}", "|. {|errors|}"),
            ("(s) {\n cache {\n  x\n }\n}\n. {\n import s\n}", "|. {|cache {|x|}|}"),
            ("(empty) {\n}\n. {\n import empty\n}", "|. {|}"),
            ("(a) {\n x\n}\n(b) {\n import a\n y\n}\nimport b", "|x|y"),
            (
                ". {\n import import-is-a-word-here-too {\n}",
                "error conf/Corefile:2:9: found `import-is-a-word-here-too`, expected a snippet or a file that can be read (conf/import-is-a-word-here-too: no such file)",
            ),
        ] {
            assert_eq!(expanded(text), expected, "{text:?}");
        }
    }

    #[test]
    fn files_are_looked_up_beside_the_importing_file() {
        assert_eq!(expanded(". {\n import one\n}"), "|. {|errors|log|}");
        assert_eq!(expanded(". {\n import {$WHICH}\n}"), "|. {|errors|log|}");
        assert_eq!(
            expanded("import nested"),
            "error conf/sub/two:1:8: found `../one-not-here`, expected a snippet or a file that can be read (conf/sub/../one-not-here: no such file)"
        );
    }

    #[test]
    fn patterns_match_file_names() {
        assert_eq!(expanded("import d/*.conf\nx"), "|a|b|x");
        assert_eq!(expanded("import d/?.conf"), "|a|b");
        assert_eq!(expanded("import nowhere/*"), "");
        assert!(expanded("import d/*.*").contains("expected at most one `*` or `?`"));
        assert!(expanded("import */a.conf").contains("expected at most one `*` or `?`"));
    }

    #[test]
    fn import_takes_one_target() {
        assert!(expanded("import\nx").starts_with("error conf/Corefile:1:1: found `import`"));
        assert!(expanded("import a b").starts_with("error conf/Corefile:1:10: found `b`"));
        assert!(expanded("import {$UNSET}").starts_with("error conf/Corefile:1:8: found nothing"));
        assert_eq!(expanded("a import b"), "|a import b");
        assert_eq!(expanded("\"import\" b"), "|import b");
    }

    #[test]
    fn imports_without_end_are_stopped() {
        assert!(expanded("import self").contains("does it import itself?"));
        assert!(expanded("(s) {\n import s\n}\nimport s").contains("does it import itself?"));
        let mut doubling = "(s0) {\n x\n}\n".to_owned();
        for level in 1..15 {
            let below = level - 1;
            doubling += &format!("(s{level}) {{\n import s{below}\n import s{below}\n}}\n");
        }
        assert!(expanded(&(doubling + "import s14")).contains("1,000 in all"));
    }

    #[test]
    fn words_made_by_imports_are_bounded() {
        let text = format!("(s) {{\n{}}}\n{}", "x\n".repeat(1000), "import s\n".repeat(900));
        assert_eq!(expanded(&text).matches("|x").count(), 0);
        assert!(expanded(&text).contains("imports make this configuration too large"));
    }

    #[test]
    fn placeholders_are_named() {
        assert_eq!(
            expanded("# __PILLAR__X__\n. {\n forward . __PILLAR__CLUSTER__DNS__\n}"),
            "error conf/Corefile:3:12: found `__PILLAR__CLUSTER__DNS__`, expected a value in place of this placeholder"
        );
    }

    #[test]
    fn snippets_are_declared_once_and_closed() {
        assert!(
            expanded("(s) {\n}\n(s) {\n}").contains(":3:1: found `(s)`, expected a snippet name")
        );
        assert!(
            expanded("(s) {\n x {\n }").contains("expected `}` after the lines of this snippet")
        );
    }
}
