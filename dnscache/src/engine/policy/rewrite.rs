//! `rewrite`: another question in place of the one asked, and how its answer is put back.
//!
//! Rules are tried in order on what the rules before made of the question. A rule that applies is
//! the last one unless it says `continue`. Whoever rewrote a question undoes the changes in reverse
//! order in every record of the answer.

use super::pattern::{Pattern, Replacement};
use crate::engine::wire::name::Name;
use crate::engine::wire::retell::Told;
use crate::engine::wire::text::NameText;

/// One `rewrite`.
#[derive(Debug, Clone, PartialEq)]
pub struct Rule {
    /// `continue`: later rules see what this one made of the question.
    pub continues: bool,
    /// What it does.
    pub change: Change,
}

/// What a rule changes.
#[derive(Debug, Clone, PartialEq)]
pub enum Change {
    /// `type FROM TO`.
    Type(u16, u16),
    /// `class FROM TO`.
    Class(u16, u16),
    /// `name TEST TO`.
    Name(NameChange),
    /// `ttl TEST SECONDS`: lower and upper bound of the TTLs in the reply.
    Ttl(Test, u32, u32),
    /// `rcode TEST FROM TO`: one response code in place of another.
    Rcode(Test, u8, u8),
}

/// Which names a rule is for; texts are in lower case, names end with a dot.
#[derive(Debug, Clone, PartialEq)]
pub enum Test {
    /// This name.
    Exact(Name),
    /// Names that begin so.
    Prefix(String),
    /// Names that end so.
    Suffix(String),
    /// Names in which this stands.
    Substring(String),
    /// Names that match.
    Regex(Pattern),
}

/// Another name in place of the one asked.
#[derive(Debug, Clone, PartialEq)]
pub enum NameChange {
    /// The whole name.
    Exact(Name, Name, Answers),
    /// What it begins with.
    Prefix(String, String, Answers),
    /// What it ends with.
    Suffix(String, String, Answers),
    /// Every place where this stands.
    Substring(String, String, Answers),
    /// The whole name, built from groups of a match.
    Regex(Pattern, Replacement, Answers),
}

/// What is put back in the answer.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Answers {
    /// `answer auto`: the change is undone in owners and in names that records point to.
    pub auto: bool,
    /// `answer name FROM TO`: owners.
    pub owners: Vec<(Pattern, Replacement)>,
    /// `answer value FROM TO`: names that records point to.
    pub values: Vec<(Pattern, Replacement)>,
}

/// A question that rules made of another.
#[derive(Debug, PartialEq)]
pub struct Rewritten<'r> {
    /// Name (uncompressed, in lower case), type and class as they stand in a message.
    pub asked: Vec<u8>,
    /// Type.
    pub qtype: u16,
    /// Class.
    pub qclass: u16,
    undo: Vec<Undo<'r>>,
}

/// A rule made a name of another that is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NoName;

#[derive(Debug, PartialEq)]
enum Undo<'r> {
    /// Owners and values: this name becomes that one.
    Name(Name, Name),
    /// Owners and values: this end becomes that one.
    End(&'r str, &'r str),
    /// `answer name` and `answer value`.
    Written(&'r Answers),
    Ttl(u32, u32),
    Rcode(u8, u8),
}

/// What `rules` make of a question, whose name is an uncompressed wire name in any case; `None` if
/// none applies, which allocates nothing.
pub fn rewrite<'r>(
    rules: &'r [Rule],
    name: &[u8],
    qtype: u16,
    qclass: u16,
) -> Result<Option<Rewritten<'r>>, NoName> {
    let mut text = NameText::of(name);
    let mut asked = Asked { name: None, qtype, qclass };
    let mut undo = Vec::new();
    let mut is_rewritten = false;
    for rule in rules {
        let now = asked.name.as_ref().map_or(name, Name::wire);
        let Some(renamed) = rule.apply(now, text.as_str(), &mut asked.qtype, &mut asked.qclass)
        else {
            continue;
        };
        is_rewritten = true;
        if let Some(to) = renamed {
            let to = Name::from_text(&to).map_err(|_| NoName)?;
            let from = Name::from_wire(now).ok_or(NoName)?;
            rule.note_renamed(from, &to, &mut undo);
            text = NameText::of(to.wire());
            asked.name = Some(to);
        }
        rule.note_reply(&mut undo);
        if !rule.continues {
            break;
        }
    }
    Ok(is_rewritten.then(|| asked.into_rewritten(name, undo)))
}

/// Whether any rule would have a say in a question about addresses of a name.
pub fn concerns(rules: &[Rule], name: &[u8]) -> bool {
    if rules.is_empty() {
        return false;
    }
    let text = NameText::of(name);
    rules.iter().any(|rule| match &rule.change {
        Change::Type(..) | Change::Class(..) => true,
        Change::Name(change) => change.applied(name, text.as_str()).is_some(),
        Change::Ttl(test, ..) | Change::Rcode(test, ..) => test.holds(name, text.as_str()),
    })
}

struct Asked {
    /// `None`: the one the client asked.
    name: Option<Name>,
    qtype: u16,
    qclass: u16,
}

impl Asked {
    fn into_rewritten<'r>(self, name: &[u8], undo: Vec<Undo<'r>>) -> Rewritten<'r> {
        let Self { name: renamed, qtype, qclass } = self;
        let mut asked = renamed.as_ref().map_or(name, Name::wire).to_vec();
        asked.extend(qtype.to_be_bytes());
        asked.extend(qclass.to_be_bytes());
        Rewritten { asked, qtype, qclass, undo }
    }
}

impl Rule {
    /// `None` if it does not apply; else the new name, if there is one.
    fn apply(
        &self,
        name: &[u8],
        text: &str,
        qtype: &mut u16,
        qclass: &mut u16,
    ) -> Option<Option<String>> {
        let replace = |place: &mut u16, from: u16, to: u16| {
            (*place == from).then(|| {
                *place = to;
                None
            })
        };
        match &self.change {
            Change::Type(from, to) => replace(qtype, *from, *to),
            Change::Class(from, to) => replace(qclass, *from, *to),
            Change::Name(change) => change.applied(name, text).map(Some),
            Change::Ttl(test, ..) | Change::Rcode(test, ..) => {
                test.holds(name, text).then_some(None)
            }
        }
    }

    fn note_renamed<'r>(&'r self, from: Name, to: &Name, undo: &mut Vec<Undo<'r>>) {
        let Change::Name(change) = &self.change else { return };
        match change {
            // A suffix is put back wherever it stands, not in this one name alone.
            NameChange::Suffix(suffix, replacement, Answers { auto: true, .. }) => {
                undo.push(Undo::End(replacement, suffix));
            }
            change if change.answers().auto => undo.push(Undo::Name(to.clone(), from)),
            _ => {}
        }
        undo.push(Undo::Written(change.answers()));
    }

    fn note_reply(&self, undo: &mut Vec<Undo<'_>>) {
        match self.change {
            Change::Ttl(_, least, most) => undo.push(Undo::Ttl(least, most)),
            Change::Rcode(_, from, to) => undo.push(Undo::Rcode(from, to)),
            _ => {}
        }
    }
}

impl Test {
    fn holds(&self, name: &[u8], text: &str) -> bool {
        match self {
            Self::Exact(exact) => name.eq_ignore_ascii_case(exact.wire()),
            Self::Prefix(prefix) => text.starts_with(prefix),
            Self::Suffix(suffix) => text.ends_with(suffix),
            Self::Substring(part) => text.contains(part),
            Self::Regex(pattern) => pattern.is_match(text),
        }
    }
}

impl NameChange {
    /// The new name; `None` if it is not for this one.
    fn applied(&self, name: &[u8], text: &str) -> Option<String> {
        match self {
            Self::Exact(from, to, _) => {
                name.eq_ignore_ascii_case(from.wire()).then(|| to.to_string())
            }
            Self::Prefix(from, to, _) => {
                Some([to.as_str(), text.strip_prefix(from.as_str())?].concat())
            }
            Self::Suffix(from, to, _) => Some([text.strip_suffix(from.as_str())?, to].concat()),
            Self::Substring(from, to, _) => {
                text.contains(from).then(|| text.replace(from.as_str(), to))
            }
            Self::Regex(pattern, to, _) => pattern.captures(text).map(|found| to.fill_in(&found)),
        }
    }

    fn answers(&self) -> &Answers {
        match self {
            Self::Exact(.., answers)
            | Self::Prefix(.., answers)
            | Self::Suffix(.., answers)
            | Self::Substring(.., answers)
            | Self::Regex(.., answers) => answers,
        }
    }
}

impl Rewritten<'_> {
    /// The name, uncompressed.
    pub fn name(&self) -> &[u8] {
        &self.asked[..self.asked.len() - 4]
    }

    /// Puts back what was changed in one record of the answer.
    pub fn restore(&self, told: &mut Told) {
        for undo in self.undo.iter().rev() {
            undo.in_record(told);
        }
    }

    /// The response code that the client gets in place of `code`.
    pub fn restore_rcode(&self, code: u8) -> u8 {
        self.undo.iter().rev().fold(code, |code, undo| match undo {
            Undo::Rcode(from, to) if *from == code => *to,
            _ => code,
        })
    }
}

impl Undo<'_> {
    fn in_record(&self, told: &mut Told) {
        match self {
            Self::Ttl(least, most) => told.ttl_secs = told.ttl_secs.clamp(*least, *most),
            Self::Rcode(..) => {}
            Self::Name(from, to) => {
                let back = |name: &[u8]| {
                    name.eq_ignore_ascii_case(from.wire()).then(|| to.wire().to_vec())
                };
                change_owner(told, back);
                change_value(told, back);
            }
            Self::End(from, to) => {
                let back = |name: &[u8]| {
                    let text = NameText::of(name);
                    let kept = text.as_str().strip_suffix(*from)?;
                    wire_of(&[kept, to].concat())
                };
                change_owner(told, back);
                change_value(told, back);
            }
            Self::Written(answers) => {
                change_owner(told, |name| replaced(&answers.owners, name));
                change_value(told, |name| replaced(&answers.values, name));
            }
        }
    }
}

/// What `answer name` or `answer value` make of a name, one after the other.
fn replaced(rules: &[(Pattern, Replacement)], name: &[u8]) -> Option<Vec<u8>> {
    rules.iter().rev().fold(None, |changed, (pattern, replacement)| {
        let text = NameText::of(changed.as_deref().unwrap_or(name));
        let found = pattern.captures(text.as_str());
        found.and_then(|found| wire_of(&replacement.fill_in(&found))).or(changed)
    })
}

/// The wire form of a name; `None` if it is none, and then the name stays as it was.
fn wire_of(text: &str) -> Option<Vec<u8>> {
    Name::from_text(text).ok().map(|name| name.wire().to_vec())
}

fn change_owner(told: &mut Told, change: impl Fn(&[u8]) -> Option<Vec<u8>>) {
    if let Some(owner) = change(&told.owner) {
        told.owner = owner;
    }
}

fn change_value(told: &mut Told, change: impl Fn(&[u8]) -> Option<Vec<u8>>) {
    let Some(place) = told.first_name() else { return };
    if let Some(value) = change(&told.rdata[place.clone()]) {
        told.rdata.splice(place, value);
    }
}
