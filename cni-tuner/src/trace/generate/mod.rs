//! Traces made by rule: what a platform engineer knows of the load, with a seed for the rest.
//!
//! A generator is named with its parameters as `name:key=value,key=value`. The same name,
//! parameters and seed give the same trace, on every machine.

mod parameters;
mod fleet;
mod agenda;
mod draw;
mod environment;
mod rollout;
mod cron;
mod ci;
mod web;
mod spot;
mod batch;
mod day;

use rand::SeedableRng as _;
use rand_chacha::ChaCha8Rng;

use super::{Fault, Trace};

pub use parameters::{Kind, Parameter, Parameters};

/// A rule that makes traces.
#[derive(Debug)]
pub struct Generator {
    /// What it is called.
    pub name: &'static str,
    /// What it makes, in a sentence.
    pub about: &'static str,
    /// What it can be told.
    pub parameters: &'static [Parameter],
    make: fn(&Parameters, ChaCha8Rng) -> Result<Trace, Error>,
}

/// How soon a pod that fits nowhere is tried again, milliseconds.
const RETRY_MS: u64 = 5_000;

/// All of them, the built-in one first.
pub const GENERATORS: &[Generator] = &[
    environment::GENERATOR,
    rollout::GENERATOR,
    cron::GENERATOR,
    ci::GENERATOR,
    web::GENERATOR,
    spot::GENERATOR,
    batch::GENERATOR,
    day::GENERATOR,
];

/// The generator that is used where nothing is asked for.
pub const BUILT_IN: &str = environment::GENERATOR.name;

/// The names of all of them.
pub const NAMES: [&str; GENERATORS.len()] = {
    let mut names = [""; GENERATORS.len()];
    let mut at = 0;
    while at < names.len() {
        names[at] = GENERATORS[at].name;
        at += 1;
    }
    names
};

/// Makes a trace; `parameters` is `key=value,key=value`, empty for the defaults.
///
/// # Errors
///
/// An unknown generator or parameter, a bad value, more pods than fit.
pub fn make(name: &str, parameters: &str, seed: u64) -> Result<Trace, Error> {
    let found = GENERATORS.iter().find(|generator| generator.name == name);
    let generator = found.ok_or_else(|| Error::unknown_generator(name))?;
    let parameters = Parameters::read(generator.name, generator.parameters, parameters)?;
    (generator.make)(&parameters, ChaCha8Rng::seed_from_u64(seed))
}

/// Makes a trace from `name` or `name:key=value,key=value`.
///
/// # Errors
///
/// As of [`make`].
pub fn make_specified(specification: &str, seed: u64) -> Result<Trace, Error> {
    let (name, parameters) = specification.split_once(':').unwrap_or((specification, ""));
    make(name.trim(), parameters, seed)
}

/// The built-in trace: an environment of 100 pods that starts at once on one c5.9xlarge, and stays
/// for the day. `parameters` as of [`make`].
///
/// # Errors
///
/// As of [`make`].
pub fn environment(parameters: &str, seed: u64) -> Result<Trace, Error> {
    make(BUILT_IN, parameters, seed)
}

/// Nodes that run all day, of one type, must have room for so many pods at once.
fn check_room(parameters: &Parameters, fleet: &fleet::Fleet, pods: usize) -> Result<(), Error> {
    let (nodes, instance_type) = (parameters.count("nodes"), parameters.instance_type());
    let room = fleet.room(instance_type);
    if room * nodes >= pods {
        return Ok(());
    }
    let better = match room {
        0 => "give a larger instance_type, or fewer daemons".to_owned(),
        _ => format!("give nodes={}, or fewer pods", pods.div_ceil(room)),
    };
    let name = instance_type.name;
    Err(parameters.contradiction(format!(
        "{pods} pods do not fit on {nodes} x {name}, each with room for {room} beside its daemons; \
         {better}"
    )))
}

/// Why a trace cannot be made. Each message says what is wrong, then what would be right.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// No such generator.
    #[error("there is no generator {name:?}{near}; there are {}", NAMES.join(", "))]
    Generator {
        /// What was asked for.
        name: String,
        /// " (did you mean ...?)" or nothing.
        near: String,
    },
    /// No such parameter.
    #[error("{generator} has no parameter {name:?}{near}; it has {known}")]
    Parameter {
        /// Of which.
        generator: &'static str,
        /// What was given.
        name: String,
        /// " (did you mean ...?)" or nothing.
        near: String,
        /// Those there are.
        known: String,
    },
    /// No `=` in it.
    #[error("{0:?} is not a parameter; write key=value, with commas between several")]
    NotAPair(String),
    /// Two values for one parameter.
    #[error("{generator} is given {name} twice; give it once")]
    Twice {
        /// Of which.
        generator: &'static str,
        /// What was given twice.
        name: String,
    },
    /// A value that is none.
    #[error("{generator} cannot have {name}={value}; {name} is {right}")]
    Value {
        /// Of which.
        generator: &'static str,
        /// The parameter.
        name: &'static str,
        /// What was given.
        value: String,
        /// What would be right.
        right: String,
    },
    /// Values that do not go together.
    #[error("{generator}: {what}")]
    Together {
        /// Of which.
        generator: &'static str,
        /// What is wrong; what would be right.
        what: String,
    },
    /// What was made is no trace.
    #[error("{generator}: {fault}")]
    Fault {
        /// Of which.
        generator: &'static str,
        /// Why not.
        fault: Fault,
    },
}

impl Error {
    fn unknown_generator(name: &str) -> Error {
        let near = super::near(name, NAMES.iter().copied());
        Error::Generator { name: name.to_owned(), near }
    }

    fn unknown_parameter(
        generator: &'static str,
        name: &str,
        known: &'static [Parameter],
    ) -> Error {
        let names: Vec<&str> = known.iter().map(|parameter| parameter.name).collect();
        let near = super::near(name, names.iter().copied());
        Error::Parameter { generator, name: name.to_owned(), near, known: names.join(", ") }
    }
}

#[cfg(test)]
mod tests;
