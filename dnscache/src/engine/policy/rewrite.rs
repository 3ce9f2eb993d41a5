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

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> Name {
        Name::from_text(text).expect("a name")
    }

    fn exact(from: &str, to: &str) -> NameChange {
        NameChange::Exact(name(from), name(to), Answers { auto: true, ..Answers::default() })
    }

    fn rule(change: NameChange) -> Rule {
        Rule { continues: false, change: Change::Name(change) }
    }

    /// What the rules make of a name: its text, or why it is none.
    fn made(rules: &[Rule], asked: &str) -> String {
        match rewrite(rules, name(asked).wire(), 1, 1) {
            Ok(None) => "unchanged".to_owned(),
            Ok(Some(found)) => NameText::of(found.name()).as_str().to_owned(),
            Err(NoName) => "no name".to_owned(),
        }
    }

    #[test]
    fn names_are_changed_as_the_rules_say() {
        let none = Answers::default;
        let text = str::to_owned;
        let regex = |pattern: &str, to: &str| {
            let pattern = Pattern::new(pattern).expect("a pattern");
            let to = Replacement::new(to.to_owned(), &pattern).expect("groups");
            NameChange::Regex(pattern, to, none())
        };
        for (change, asked, expected) in [
            (exact("a.test", "b.test"), "A.Test", "b.test."),
            (exact("a.test", "b.test"), "x.a.test", "unchanged"),
            (NameChange::Prefix(text("x-"), text(""), none()), "x-a.test", "a.test."),
            (NameChange::Prefix(text("x."), text(""), none()), "x.", "no name"),
            (NameChange::Suffix(text(".a."), text(".b.c."), none()), "x.a", "x.b.c."),
            (NameChange::Suffix(text(".a."), text(".b."), none()), "xa", "unchanged"),
            (NameChange::Substring(text("a"), text("bb"), none()), "a.ca", "bb.cbb."),
            (regex(r"^(\w+)[.](\w+)[.]$", "{2}.{1}.x"), "one.two", "two.one.x."),
            (regex(r"^(\w+)[.]", "{1}..x"), "one.two", "no name"),
        ] {
            assert_eq!(made(&[rule(change.clone())], asked), expected, "{change:?} {asked}");
        }
    }

    #[test]
    fn later_rules_see_what_earlier_ones_made_if_those_continue() {
        let mut rules = vec![rule(exact("a", "b")), rule(exact("b", "c")), rule(exact("c", "d"))];
        assert_eq!(made(&rules, "a"), "b.");
        rules[0].continues = true;
        assert_eq!(made(&rules, "a"), "c.");
        assert_eq!(made(&rules, "b"), "c.");
        assert_eq!(made(&rules, "x"), "unchanged");
    }

    #[test]
    fn changes_are_undone_in_reverse_order() {
        let mut rules = vec![rule(exact("a", "b")), rule(exact("b", "c"))];
        rules[0].continues = true;
        let rewritten = rewrite(&rules, name("a").wire(), 1, 1).expect("a name").expect("a rule");
        let owner = |text: &str| {
            let mut told = Told { owner: name(text).wire().to_vec(), rtype: 1, ..Told::default() };
            rewritten.restore(&mut told);
            NameText::of(&told.owner).as_str().to_owned()
        };
        assert_eq!([owner("c"), owner("b"), owner("x")], ["a.", "a.", "x."]);
    }

    #[test]
    fn names_in_data_are_put_back_for_types_that_have_one() {
        let rules = [rule(exact("a.test", "b.test"))];
        let rewritten =
            rewrite(&rules, name("a.test").wire(), 33, 1).expect("a name").expect("a rule");
        for (rtype, before) in [(33, &b"\0\x01\0\x02\0\x03"[..]), (5, b""), (15, b"\0\x0a")] {
            let rdata = [before, name("B.test").wire()].concat();
            let mut told = Told { owner: vec![0], rtype, rdata, ..Told::default() };
            rewritten.restore(&mut told);
            assert_eq!(told.rdata, [before, name("a.test").wire()].concat(), "type {rtype}");
        }
        let text = [&[8][..], name("b.test").wire()].concat();
        let mut told = Told { owner: vec![0], rtype: 16, rdata: text.clone(), ..Told::default() };
        rewritten.restore(&mut told);
        assert_eq!(told.rdata, text);
    }

    #[test]
    fn ttls_and_response_codes_are_bounded_and_replaced() {
        let all = || Test::Suffix(".".to_owned());
        let rules = [
            Rule { continues: true, change: Change::Ttl(all(), 5, 60) },
            Rule { continues: true, change: Change::Rcode(all(), 3, 0) },
        ];
        let rewritten = rewrite(&rules, name("x").wire(), 1, 1).expect("a name").expect("a rule");
        let ttl = |ttl_secs| {
            let mut told = Told { owner: vec![0], ttl_secs, ..Told::default() };
            rewritten.restore(&mut told);
            told.ttl_secs
        };
        assert_eq!([0, 30, 300].map(ttl), [5, 30, 60]);
        assert_eq!([0, 2, 3].map(|code| rewritten.restore_rcode(code)), [0, 2, 0]);
    }
}
