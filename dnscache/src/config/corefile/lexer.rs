//! Cuts the text of a Corefile into words.
//!
//! Words end at white space. A word that begins with `"` goes on to the next `"`, over lines too;
//! inside it `\"` is a quote and any other backslash is itself. `#` outside quotes hides the rest
//! of the line, even in the middle of a word. `{$NAME}` and `{%NAME%}` are replaced by environment
//! variables (nothing if unset), once: a value is never looked into again, nor is it a brace.

use std::iter::Peekable;

use super::super::environment::Environment;
use super::super::{ConfigError, Position};

/// A word of a Corefile and where it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Token {
    /// Its first character.
    pub position: Position,
    /// The word, without quotes, variables filled in.
    pub text: String,
    /// The word before variables were filled in, if there were any.
    pub written: Option<String>,
    /// Whether it stood in quotes; then it is neither a brace nor `import`.
    pub quoted: bool,
    /// Whether it is the first word of its line.
    pub starts_line: bool,
}

impl Token {
    /// Whether this is `{`.
    pub fn opens(&self) -> bool {
        self.is_plain("{")
    }

    /// Whether this is `}`.
    pub fn closes(&self) -> bool {
        self.is_plain("}")
    }

    /// Whether a brace was typed at the end of another word; it would not open anything.
    pub(super) fn runs_into_brace(&self) -> bool {
        self.text.len() > 1 && self.text.ends_with('{') && !self.quoted && self.written.is_none()
    }

    /// Whether this word was typed as `text`: not quoted, not out of a variable.
    pub fn is_plain(&self, text: &str) -> bool {
        !self.quoted && self.written.is_none() && self.text == text
    }

    /// The error that this word stands where something else should.
    pub fn error(&self, expected: &str) -> ConfigError {
        let found = match &self.written {
            None if self.text.is_empty() => "nothing".to_owned(),
            None => format!("`{}`", shortened(&self.text)),
            Some(written) if self.text.is_empty() => format!("nothing (written `{written}`)"),
            Some(written) => format!("`{}` (written `{written}`)", shortened(&self.text)),
        };
        ConfigError { position: self.position.clone(), found, expected: expected.to_owned() }
    }

    /// The non-empty parts between commas, each as a word of its own.
    pub(super) fn split_at_commas(&self) -> Vec<Token> {
        let mut parts = Vec::new();
        let mut column = self.position.column;
        for text in self.text.split(',') {
            if !text.is_empty() {
                let position = Position { column, ..self.position.clone() };
                parts.push(Token { position, text: text.to_owned(), ..self.clone() });
            }
            column += text.chars().count() + 1;
        }
        parts
    }
}

/// Cuts `text` into words. The errors are a quote without its end and too many words.
pub(super) fn lex(
    file: &str,
    text: &str,
    environment: &dyn Environment,
) -> Result<Vec<Token>, ConfigError> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut lexer = Lexer {
        characters: text.chars().peekable(),
        position: Position { file: file.to_owned(), line: 1, column: 1 },
        line_has_word: false,
    };
    let mut tokens = Vec::new();
    while let Some(token) = lexer.token()? {
        tokens.push(substituted(token, environment));
        if tokens.len() > TOKENS_MAX {
            return Err(tokens[TOKENS_MAX].error("the end of the file: it has too many words"));
        }
    }
    Ok(tokens)
}

struct Lexer<I: Iterator<Item = char>> {
    characters: Peekable<I>,
    /// Of the next character.
    position: Position,
    /// Whether a word was met in the current line.
    line_has_word: bool,
}

impl<I: Iterator<Item = char>> Lexer<I> {
    fn token(&mut self) -> Result<Option<Token>, ConfigError> {
        self.skip_blank();
        if self.characters.peek().is_none() {
            return Ok(None);
        }
        let position = self.position.clone();
        let starts_line = !std::mem::replace(&mut self.line_has_word, true);
        let quoted = self.characters.peek() == Some(&'"');
        let text = match quoted {
            true => self.quoted(&position)?,
            false => self.plain(),
        };
        Ok(Some(Token { position, text, written: None, quoted, starts_line }))
    }

    /// Passes over white space and comments.
    fn skip_blank(&mut self) {
        let mut comment = false;
        while let Some(&character) = self.characters.peek() {
            comment = (comment || character == '#') && character != '\n';
            if !comment && !character.is_whitespace() {
                return;
            }
            self.advance();
        }
    }

    fn plain(&mut self) -> String {
        let mut text = String::new();
        while let Some(&character) = self.characters.peek()
            && !character.is_whitespace()
            && character != '#'
        {
            text.push(character);
            self.advance();
        }
        text
    }

    fn quoted(&mut self, opening: &Position) -> Result<String, ConfigError> {
        let mut text = String::new();
        self.advance();
        while let Some(character) = self.advance() {
            match character {
                // What follows on the line of the closing quote does not start it.
                '"' => {
                    self.line_has_word = true;
                    return Ok(text);
                }
                '\\' if self.characters.peek() == Some(&'"') => {
                    self.advance();
                    text.push('"');
                }
                other => text.push(other),
            }
        }
        Err(ConfigError {
            position: self.position.clone(),
            found: "the end of the file".to_owned(),
            expected: format!("`\"` for the quote opened at {opening}"),
        })
    }

    fn advance(&mut self) -> Option<char> {
        let character = self.characters.next()?;
        if character == '\n' {
            self.position.line += 1;
            self.position.column = 1;
            self.line_has_word = false;
        } else {
            self.position.column += 1;
        }
        Some(character)
    }
}

/// Fills in the variables of a word.
fn substituted(mut token: Token, environment: &dyn Environment) -> Token {
    if let Some(text) = fill_in(&token.text, environment) {
        token.written = Some(std::mem::replace(&mut token.text, text));
    }
    token
}

/// `text` with its variables filled in; `None` if there are none in it. References without a name
/// or without an end stay as they are.
fn fill_in(text: &str, environment: &dyn Environment) -> Option<String> {
    let mut filled = String::new();
    let mut rest = text;
    let mut any = false;
    while let Some(start) = rest.find('{') {
        let (before, reference) = rest.split_at(start);
        filled.push_str(before);
        let (value, len) = match reference_name(reference) {
            Some((name, len)) => {
                any = true;
                (environment.variable(name).unwrap_or_default(), len)
            }
            None => ("{".to_owned(), 1),
        };
        filled.push_str(&value);
        rest = &reference[len..];
    }
    filled.push_str(rest);
    any.then_some(filled)
}

/// The variable that `text` begins with a reference to, and the octets of that reference.
fn reference_name(text: &str) -> Option<(&str, usize)> {
    let (inner, end) = match text.strip_prefix("{$") {
        Some(inner) => (inner, "}"),
        None => (text.strip_prefix("{%")?, "%}"),
    };
    // No further than a name can reach, or a word of nothing but `{$` takes quadratic time.
    let name = inner[..inner.floor_char_boundary(VARIABLE_LEN_MAX)].split_once(end)?.0;
    (!name.is_empty()).then_some((name, 2 + name.len() + end.len()))
}

/// The front of a word, so that a message stays readable whatever the file holds.
fn shortened(text: &str) -> String {
    let mut short: String = text.chars().take(WORD_SHOWN_MAX).collect();
    if short.len() < text.len() {
        short.push_str("...");
    }
    short
}

/// Words of one file; the largest real Corefiles have some thousands.
pub(super) const TOKENS_MAX: usize = 100_000;
/// Octets of the longest variable name, with the end of its reference.
const VARIABLE_LEN_MAX: usize = 256;
/// Characters of a word repeated in a message.
const WORD_SHOWN_MAX: usize = 80;

#[cfg(test)]
mod tests {
    use super::super::super::environment::tests::Literal;
    use super::*;

    fn words(text: &str) -> Vec<String> {
        let environment =
            Literal::default().with_variable("A", "one").with_variable("LOOP", "{$LOOP}");
        lex("f", text, &environment).expect("lexed").into_iter().map(|token| token.text).collect()
    }

    fn check(text: &str, expected: &[&str]) {
        assert_eq!(words(text), expected, "{text:?}");
    }

    #[test]
    fn words_end_at_white_space() {
        check("a  b\tc\r\nd", &["a", "b", "c", "d"]);
        check("\u{feff}a", &["a"]);
        check("", &[]);
        check(" \n ", &[]);
    }

    #[test]
    fn comments_end_with_their_line() {
        check("# x\na # b\nc#d\ne", &["a", "c", "e"]);
        check("# only", &[]);
    }

    #[test]
    fn quotes_hold_blanks_lines_and_escaped_quotes() {
        check(r#""a b" "" "\"" "\n" "x#y" "#, &["a b", "", "\"", "\\n", "x#y"]);
        check("\"a\nb\" c", &["a\nb", "c"]);
        check("a\"b", &["a\"b"]);
        check("\"a\"b", &["a", "b"]);
    }

    #[test]
    fn variables_are_filled_in_once() {
        check("{$A} x{%A%}y \"{$A}\"", &["one", "xoney", "one"]);
        check("{$UNSET}", &[""]);
        check("{$LOOP}", &["{$LOOP}"]);
        check("{$} {% {$A {%%} {{$A}", &["{$}", "{%", "{$A", "{%%}", "{one"]);
    }

    #[test]
    fn positions_count_lines_and_characters_from_one() {
        let tokens = lex("f", "äb c\n  \"x\ny\" z\n w", &Literal::default()).expect("lexed");
        let places: Vec<_> = tokens
            .iter()
            .map(|token| (token.position.line, token.position.column, token.starts_line))
            .collect();
        assert_eq!(
            places,
            [(1, 1, true), (1, 4, false), (2, 3, true), (3, 4, false), (4, 2, true)]
        );
    }

    #[test]
    fn an_open_quote_is_an_error_that_names_its_start() {
        let error = lex("f", "a \"b\nc", &Literal::default()).expect_err("open");
        assert_eq!(
            error.to_string(),
            "f:2:2: found the end of the file, expected `\"` for the quote opened at f:1:3"
        );
    }

    #[test]
    fn braces_out_of_quotes_and_variables_are_words() {
        let environment = Literal::default().with_variable("B", "{");
        let tokens = lex("f", "{ \"{\" {$B}", &environment).expect("lexed");
        assert_eq!(tokens.iter().map(Token::opens).collect::<Vec<_>>(), [true, false, false]);
    }

    #[test]
    fn words_are_bounded_in_number_and_in_messages() {
        assert!(lex("f", &"a ".repeat(TOKENS_MAX), &Literal::default()).is_ok());
        let error = lex("f", &"a ".repeat(TOKENS_MAX + 1), &Literal::default());
        assert!(error.is_err());
        let token = &lex("f", &"é".repeat(100), &Literal::default()).expect("lexed")[0];
        assert_eq!(token.error("x").found, format!("`{}...`", "é".repeat(80)));
    }
}
