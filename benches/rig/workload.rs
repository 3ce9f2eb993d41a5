//! Which questions a scenario asks, in which order.

use super::names::{Expect, NUMBERS, Question, SEARCH, Said, TYPE_A, TYPE_AAAA, Template, ZONE};

/// A source of questions; it may choose the next ones by what the last ones brought.
pub trait Workload {
    /// What [`Question::template`] points into.
    fn templates(&self) -> &[Template];

    /// Adds up to `count` questions, at least one, for client `link`. Questions of one template
    /// stand together. None at all means that the workload is finished.
    fn burst(&mut self, link: usize, count: usize, burst: &mut Vec<Question>);

    /// What a reply to a question of this client's last burst said.
    fn replied(&mut self, _link: usize, _question: Question, _said: Said) {}
}

/// A small generator of uniform numbers (SplitMix64): a few instructions each, and repeatable.
#[derive(Debug, Clone)]
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Below `bound`.
    pub fn below(&mut self, bound: u32) -> u32 {
        (((self.next() >> 32) * u64::from(bound)) >> 32) as u32
    }
}

/// Names that exist, or the same questions to the echo.
pub fn external(expect: Expect) -> Template {
    Template::new(b'n', ZONE, TYPE_A, expect)
}

/// The first name a client tries: the external one below the first search domain.
pub fn search_path(expect: Expect) -> Template {
    Template::new(b'n', &format!("{ZONE}.{}", SEARCH[0]), TYPE_A, expect)
}

/// Random names out of a fixed number, over and over.
pub struct Repeated {
    templates: [Template; 1],
    names: u32,
    random: Random,
}

impl Repeated {
    pub fn new(template: Template, names: usize) -> Self {
        Self { templates: [template], names: names as u32, random: Random::new(1) }
    }
}

impl Workload for Repeated {
    fn templates(&self) -> &[Template] {
        &self.templates
    }

    fn burst(&mut self, _link: usize, count: usize, burst: &mut Vec<Question>) {
        let random = &mut self.random;
        burst
            .extend((0..count).map(|_| Question { template: 0, number: random.below(self.names) }));
    }
}

/// As [`Repeated`], with popularity falling as 1/rank: a few names make most of the questions.
pub struct Zipf {
    templates: [Template; 1],
    /// Drawn beforehand; a draw costs a logarithm or a search, a query less than that.
    drawn: Vec<u32>,
    at: usize,
}

impl Zipf {
    pub fn new(template: Template, names: usize) -> Self {
        let mut total = 0.0;
        let reach = (1..=names).map(|rank| {
            total += 1.0 / rank as f64;
            total
        });
        let reach: Vec<f64> = reach.collect();
        let mut random = Random::new(2);
        let drawn = (0..DRAWN).map(|_| {
            let share = (random.next() >> 11) as f64 / (1_u64 << 53) as f64;
            // Ranks are spread over the numbers, so that near ranks are not near names.
            let rank = reach.partition_point(|reach| *reach < share * total).min(names - 1);
            (rank as u64 * 7919 % names as u64) as u32
        });
        Self { templates: [template], drawn: drawn.collect(), at: 0 }
    }
}

impl Workload for Zipf {
    fn templates(&self) -> &[Template] {
        &self.templates
    }

    fn burst(&mut self, _link: usize, count: usize, burst: &mut Vec<Question>) {
        for _ in 0..count {
            burst.push(Question { template: 0, number: self.drawn[self.at] });
            self.at = (self.at + 1) % DRAWN;
        }
    }
}

/// Draws before a [`Zipf`] repeats itself: several times the names.
const DRAWN: usize = 1 << 20;

/// Listed questions once each: fills, and passes that check them.
pub struct Once {
    templates: Vec<Template>,
    /// Last first.
    left: Vec<Question>,
    /// Answered wrongly or not yet at all.
    pub open: std::collections::HashSet<(u8, u32)>,
}

impl Once {
    pub fn new(templates: Vec<Template>, mut questions: Vec<Question>) -> Self {
        questions.reverse();
        let open = questions.iter().map(|question| (question.template, question.number)).collect();
        Self { templates, left: questions, open }
    }

    /// What is still open, to be asked again.
    pub fn again(self) -> Self {
        let questions = self.open.iter();
        let questions =
            questions.map(|(template, number)| Question { template: *template, number: *number });
        let mut questions: Vec<Question> = questions.collect();
        questions.sort_by_key(|question| (question.template, question.number));
        Self::new(self.templates, questions)
    }
}

impl Workload for Once {
    fn templates(&self) -> &[Template] {
        &self.templates
    }

    fn burst(&mut self, _link: usize, count: usize, burst: &mut Vec<Question>) {
        let at = self.left.len().saturating_sub(count);
        burst.extend(self.left.drain(at..).rev());
    }

    fn replied(&mut self, _link: usize, question: Question, said: Said) {
        if said != Said::Wrong {
            self.open.remove(&(question.template, question.number));
        }
    }
}

/// Every name a new one.
pub struct Fresh {
    templates: [Template; 1],
    next: u32,
}

impl Fresh {
    pub fn new(template: Template) -> Self {
        Self { templates: [template], next: 0 }
    }
}

impl Workload for Fresh {
    fn templates(&self) -> &[Template] {
        &self.templates
    }

    fn burst(&mut self, _link: usize, count: usize, burst: &mut Vec<Question>) {
        for _ in 0..count {
            burst.push(Question { template: 0, number: scattered(self.next) });
            self.next += 1;
        }
    }
}

/// A number that jumps about as `next` counts up, and repeats only after all of them.
pub fn scattered(next: u32) -> u32 {
    // The factor is odd and no multiple of 5, so it has no divisor in common with NUMBERS.
    (u64::from(next) * 61_803_401 % u64::from(NUMBERS)) as u32
}

/// 90 % hits, 9 % search-path misses, 1 % names never asked before.
pub struct Mixed {
    templates: [Template; 3],
    names: u32,
    random: Random,
    next: u32,
}

impl Mixed {
    pub fn new(templates: [Template; 3], names: usize) -> Self {
        Self { templates, names: names as u32, random: Random::new(3), next: 0 }
    }
}

impl Workload for Mixed {
    fn templates(&self) -> &[Template] {
        &self.templates
    }

    fn burst(&mut self, _link: usize, count: usize, burst: &mut Vec<Question>) {
        let mut counts = [0; 3];
        for _ in 0..count {
            counts[match self.random.below(100) {
                0 => 2,
                1..10 => 1,
                _ => 0,
            }] += 1;
        }
        for (template, count) in counts.into_iter().enumerate() {
            for _ in 0..count {
                let number = if template == 2 {
                    self.next += 1;
                    scattered(self.next)
                } else {
                    self.random.below(self.names)
                };
                burst.push(Question { template: template as u8, number });
            }
        }
    }
}

/// Whole lookups as glibc does them under `ndots:5`: A and AAAA of every candidate at once, the
/// next candidate when neither has an address. The clients of a burst walk in step.
pub struct Search {
    templates: Vec<Template>,
    hosts: u32,
    random: Random,
    walks: Vec<Walk>,
    /// Lookups begun.
    pub lookups: u64,
    /// Questions they took.
    pub questions: u64,
}

/// The lookups of one client's burst.
#[derive(Default)]
struct Walk {
    candidate: usize,
    /// Hosts whose candidates so far do not exist.
    unresolved: Vec<u32>,
    /// Hosts that a reply to the last burst gave an address for.
    resolved: Vec<u32>,
}

impl Search {
    pub fn new(hosts: usize, links: usize, is_echo: bool) -> Self {
        Self {
            templates: Self::candidates(is_echo),
            hosts: hosts as u32,
            random: Random::new(4),
            walks: (0..links).map(|_| Walk::default()).collect(),
            lookups: 0,
            questions: 0,
        }
    }

    /// A and AAAA of each candidate; the last one, absolute, must exist.
    pub fn candidates(is_echo: bool) -> Vec<Template> {
        let either = if is_echo { Expect::Echo } else { Expect::AddressOrAbsent };
        let address = if is_echo { Expect::Echo } else { Expect::Address };
        let below = SEARCH.iter().map(|domain| (format!("{ZONE}.{domain}"), either));
        let all = below.chain([(ZONE.to_owned(), address)]);
        all.flat_map(|(parent, expect)| {
            [TYPE_A, TYPE_AAAA].map(|qtype| Template::new(b'n', &parent, qtype, expect))
        })
        .collect()
    }

    /// Candidates a lookup of this server takes, on average.
    pub fn candidates_per_lookup(&self) -> f64 {
        self.questions as f64 / 2.0 / self.lookups.max(1) as f64
    }
}

/// The questions that [`Search`] lookups consist of, one by one: their latency is taken at a fixed
/// rate, which no reply may hold up.
pub struct SearchQuestions {
    templates: Vec<Template>,
    hosts: u32,
    random: Random,
}

impl SearchQuestions {
    /// Of lookups that take the first `candidates` candidates.
    pub fn new(hosts: usize, candidates: f64, is_echo: bool) -> Self {
        let mut templates = Search::candidates(is_echo);
        templates.truncate((candidates.round() as usize).max(1) * 2);
        Self { templates, hosts: hosts as u32, random: Random::new(5) }
    }
}

impl Workload for SearchQuestions {
    fn templates(&self) -> &[Template] {
        &self.templates
    }

    fn burst(&mut self, _link: usize, count: usize, burst: &mut Vec<Question>) {
        let template = self.random.below(self.templates.len() as u32) as u8;
        let random = &mut self.random;
        burst.extend((0..count).map(|_| Question { template, number: random.below(self.hosts) }));
    }
}

impl Workload for Search {
    fn templates(&self) -> &[Template] {
        &self.templates
    }

    fn burst(&mut self, link: usize, count: usize, burst: &mut Vec<Question>) {
        let walk = &mut self.walks[link];
        let Walk { unresolved, resolved, .. } = walk;
        unresolved.retain(|host| !resolved.contains(host));
        resolved.clear();
        walk.candidate += 1;
        if walk.unresolved.is_empty() || walk.candidate > SEARCH.len() {
            walk.candidate = 0;
            let random = &mut self.random;
            walk.unresolved.clear();
            walk.unresolved.extend((0..count.div_ceil(2)).map(|_| random.below(self.hosts)));
            walk.unresolved.sort_unstable();
            walk.unresolved.dedup();
            self.lookups += walk.unresolved.len() as u64;
        }
        for family in 0..2 {
            let template = (walk.candidate * 2 + family) as u8;
            burst.extend(walk.unresolved.iter().map(|host| Question { template, number: *host }));
        }
        self.questions += walk.unresolved.len() as u64 * 2;
    }

    fn replied(&mut self, link: usize, question: Question, said: Said) {
        let walk = &mut self.walks[link];
        let is_of_walk = usize::from(question.template) / 2 == walk.candidate;
        if said == Said::Address && is_of_walk {
            walk.resolved.push(question.number);
        }
    }
}
