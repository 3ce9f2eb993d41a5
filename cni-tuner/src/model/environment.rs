//! aws-node's environment variables: as ipamd reads them, which never fails but falls back, and
//! strictly, as a command line is read.

use std::collections::BTreeMap;
use std::fmt;

use crate::model::settings::{Mode, Settings};

/// A variable of aws-node that the model knows.
#[derive(Clone, Copy)]
pub struct Variable {
    /// Its name.
    pub name: &'static str,
    kind: Kind,
    set: fn(&mut Settings, u32),
    value: fn(&Settings) -> Option<u32>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// As Go's `strconv.ParseBool` reads it.
    Switch,
    /// A whole number, from `min` to what is sensible on a command line. ipamd takes any from `min`
    /// up (`Lowest::Ignored`), or any at all (`Lowest::Taken`).
    Count { min: u32, max: u32, below: Below },
}

/// What ipamd does with a number that is too small.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Below {
    /// It takes the default.
    Ignored,
    /// It takes the number: an address that cools down for a negative time never does.
    Taken,
}

/// More than any node can hold: 24 ENIs of 63 prefixes.
const ADDRESSES_MAX: u32 = 100_000;
const PREFIXES_MAX: u32 = 10_000;
const ENIS_MAX: u32 = 1_000;
const COOLDOWN_SECS_MAX: u32 = 86_400;

const fn count(min: u32, max: u32, below: Below) -> Kind {
    Kind::Count { min, max, below }
}

/// All variables of [`Settings`], in the order they are listed.
pub const VARIABLES: [Variable; 12] = [
    Variable {
        name: "ENABLE_PREFIX_DELEGATION",
        kind: Kind::Switch,
        set: |settings, on| {
            settings.mode = if on == 1 { Mode::Prefix } else { Mode::SecondaryIp };
        },
        value: |settings| Some(u32::from(settings.mode == Mode::Prefix)),
    },
    Variable {
        name: "WARM_ENI_TARGET",
        kind: count(0, ENIS_MAX, Below::Ignored),
        set: |settings, count| settings.warm_eni = count,
        value: |settings| Some(settings.warm_eni),
    },
    Variable {
        name: "WARM_IP_TARGET",
        kind: count(0, ADDRESSES_MAX, Below::Ignored),
        set: |settings, count| settings.warm_ip = count,
        value: |settings| Some(settings.warm_ip),
    },
    Variable {
        name: "MINIMUM_IP_TARGET",
        kind: count(0, ADDRESSES_MAX, Below::Ignored),
        set: |settings, count| settings.minimum_ip = count,
        value: |settings| Some(settings.minimum_ip),
    },
    Variable {
        name: "WARM_PREFIX_TARGET",
        kind: count(0, PREFIXES_MAX, Below::Ignored),
        set: |settings, count| settings.warm_prefix = count,
        value: |settings| Some(settings.warm_prefix),
    },
    Variable {
        name: "MAX_ENI",
        kind: count(1, ENIS_MAX, Below::Ignored),
        set: |settings, count| settings.enis_max = Some(count),
        value: |settings| settings.enis_max,
    },
    Variable {
        name: "IP_COOLDOWN_PERIOD",
        kind: count(0, COOLDOWN_SECS_MAX, Below::Taken),
        set: |settings, secs| settings.cooldown_ms = u64::from(secs) * 1000,
        value: |settings| u32::try_from(settings.cooldown_ms / 1000).ok(),
    },
    Variable {
        name: "AWS_MANAGE_ENIS_NON_SCHEDULABLE",
        kind: Kind::Switch,
        set: |settings, on| settings.manages_unschedulable = on == 1,
        value: |settings| Some(u32::from(settings.manages_unschedulable)),
    },
    Variable {
        name: "AWS_VPC_K8S_CNI_CUSTOM_NETWORK_CFG",
        kind: Kind::Switch,
        set: |settings, on| settings.custom_networking = on == 1,
        value: |settings| Some(u32::from(settings.custom_networking)),
    },
    Variable {
        name: "ENABLE_SUBNET_DISCOVERY",
        kind: Kind::Switch,
        set: |settings, on| settings.subnet_discovery = on == 1,
        value: |settings| Some(u32::from(settings.subnet_discovery)),
    },
    Variable {
        name: "ENABLE_POD_ENI",
        kind: Kind::Switch,
        set: |settings, on| settings.pod_eni = on == 1,
        value: |settings| Some(u32::from(settings.pod_eni)),
    },
    Variable {
        name: "DISABLE_LEAKED_ENI_CLEANUP",
        kind: Kind::Switch,
        set: |settings, on| settings.sweeps_leaked = on == 0,
        value: |settings| Some(u32::from(!settings.sweeps_leaked)),
    },
];

/// What ipamd makes of an environment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reading {
    /// What holds.
    pub settings: Settings,
    /// Values that ipamd does not take as they are written, in the order of [`VARIABLES`].
    pub remarks: Vec<Remark>,
}

/// A value that ipamd does not take as it is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Remark {
    /// The variable.
    pub variable: &'static str,
    /// What it is set to.
    pub written: String,
    /// What holds instead, as a value or in words.
    pub taken: String,
}

/// A mistake in `NAME=VALUE`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Mistake {
    /// There is no `=`.
    #[error("{0:?} is not of the form NAME=VALUE, such as WARM_IP_TARGET=5")]
    NoValue(String),
    /// The model knows no such variable.
    #[error("{name} is no variable of aws-node that the model knows{near}")]
    Unknown {
        /// The name.
        name: String,
        /// `; is WARM_IP_TARGET meant?`, or the names there are.
        near: String,
    },
    /// It is set twice.
    #[error("{0} is set twice")]
    Twice(&'static str),
    /// The value is not one it can have.
    #[error("{name}={written}: {needs}")]
    Value {
        /// The variable.
        name: &'static str,
        /// What it is set to.
        written: String,
        /// What would be right.
        needs: String,
    },
}

impl Settings {
    /// What ipamd makes of its environment. Variables that the model does not know are left alone;
    /// of one that is not set, the default of ipamd's code holds. That differs from
    /// [`Settings::default`] in `WARM_PREFIX_TARGET`, which the chart and the manifest set to 1.
    pub fn from_env(env: &BTreeMap<String, String>) -> Reading {
        let mut settings = Settings::of_code();
        let mut remarks = Vec::new();
        for variable in &VARIABLES {
            let Some(written) = env.get(variable.name) else { continue };
            match variable.take(written) {
                Taken::AsWritten(value) => (variable.set)(&mut settings, value),
                Taken::Otherwise(value) => {
                    (variable.set)(&mut settings, value);
                    // ipamd's numbers are longer than these: it takes it as it is written.
                    let is_beyond = value == u32::MAX;
                    let in_words = "it as more than any node can have".to_owned();
                    let taken = if is_beyond { in_words } else { value.to_string() };
                    remarks.push(variable.remark(written, taken));
                }
                Taken::Not => remarks.push(variable.remark(written, variable.default_text())),
            }
        }
        Reading { settings, remarks }
    }

    /// `NAME=VALUE` words on top of what holds already; nothing in them may be doubtful.
    ///
    /// # Errors
    ///
    /// [`Mistake`] in the first word that is wrong.
    pub fn with_words<W: AsRef<str>>(
        mut self,
        words: impl IntoIterator<Item = W>,
    ) -> Result<Settings, Mistake> {
        let mut known: Vec<&str> = Vec::new();
        for word in words {
            let (variable, value) = variable_of(word.as_ref())?;
            if known.contains(&variable.name) {
                return Err(Mistake::Twice(variable.name));
            }
            known.push(variable.name);
            (variable.set)(&mut self, variable.parse(value)?);
        }
        Ok(self)
    }

    /// Every variable with its value; `MAX_ENI` only where it is set.
    pub fn env(&self) -> Vec<(&'static str, String)> {
        let text = |variable: &Variable| {
            (variable.value)(self).map(|value| (variable.name, variable.text(value)))
        };
        VARIABLES.iter().filter_map(text).collect()
    }

    /// What holds where no variable is set.
    fn of_code() -> Settings {
        Settings { warm_prefix: 0, ..Settings::default() }
    }
}

/// What ipamd makes of a value.
enum Taken {
    AsWritten(u32),
    Otherwise(u32),
    Not,
}

impl Variable {
    /// The variable of that name.
    pub fn find(name: &str) -> Option<&'static Variable> {
        VARIABLES.iter().find(|variable| variable.name == name)
    }

    /// As ipamd does.
    fn take(&self, written: &str) -> Taken {
        let Kind::Count { min, below, .. } = self.kind else {
            return parse_bool(written).map_or(Taken::Not, |on| Taken::AsWritten(u32::from(on)));
        };
        // Go's Atoi, too, takes a sign and no blanks; its numbers have 64 bits.
        let Ok(number) = written.parse::<i64>() else { return Taken::Not };
        match u32::try_from(number) {
            Ok(value) if value >= min => Taken::AsWritten(value),
            Err(_) if number > 0 => Taken::Otherwise(u32::MAX),
            _ if below == Below::Taken => Taken::Otherwise(0),
            _ => Taken::Not,
        }
    }

    /// As a person means it: nothing out of range.
    fn parse(&self, written: &str) -> Result<u32, Mistake> {
        let value = match self.kind {
            Kind::Switch => parse_bool(written).map(u32::from),
            Kind::Count { min, max, .. } => {
                written.parse().ok().filter(|value| (min..=max).contains(value))
            }
        };
        let written = written.to_owned();
        value.ok_or_else(|| Mistake::Value { name: self.name, written, needs: self.needs() })
    }

    /// What a value must be.
    fn needs(&self) -> String {
        match self.kind {
            Kind::Switch => "true or false is needed".to_owned(),
            Kind::Count { min, max, .. } => {
                let of = if self.name == "IP_COOLDOWN_PERIOD" { " of seconds" } else { "" };
                format!("a whole number{of} from {min} to {max} is needed")
            }
        }
    }

    fn text(&self, value: u32) -> String {
        match self.kind {
            Kind::Switch => (value == 1).to_string(),
            Kind::Count { .. } => value.to_string(),
        }
    }

    fn default_text(&self) -> String {
        let value = (self.value)(&Settings::of_code());
        value.map_or_else(|| "the instance type's limit".to_owned(), |value| self.text(value))
    }

    fn remark(&self, written: &str, taken: String) -> Remark {
        Remark { variable: self.name, written: written.to_owned(), taken }
    }
}

impl fmt::Debug for Variable {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.name)
    }
}

/// Go's `strconv.ParseBool`.
pub fn parse_bool(written: &str) -> Option<bool> {
    match written {
        "1" | "t" | "T" | "TRUE" | "true" | "True" => Some(true),
        "0" | "f" | "F" | "FALSE" | "false" | "False" => Some(false),
        _ => None,
    }
}

fn variable_of(word: &str) -> Result<(&'static Variable, &str), Mistake> {
    let Some((name, value)) = word.split_once('=') else {
        return Err(Mistake::NoValue(word.to_owned()));
    };
    let unknown = || {
        let near = match nearest(name, VARIABLES.iter().map(|variable| variable.name)) {
            Some(near) => format!("; is {near} meant?"),
            None => format!("; it knows {}", VARIABLES.map(|variable| variable.name).join(", ")),
        };
        Mistake::Unknown { name: name.to_owned(), near }
    };
    Ok((Variable::find(name).ok_or_else(unknown)?, value))
}

/// The name that was probably meant: the nearest, if no more than a third of its letters differ, or
/// else the first that only goes on. Case makes no difference.
pub fn nearest<'a>(name: &str, names: impl Iterator<Item = &'a str> + Clone) -> Option<&'a str> {
    let meant = name.to_ascii_uppercase();
    let distance = |of: &str| strsim::osa_distance(&meant, &of.to_ascii_uppercase());
    let all = names.clone().map(|of| (distance(of), of));
    let near = all.filter(|(distance, of)| *distance * 3 <= of.len());
    let nearest = near.min_by_key(|(distance, _)| *distance).map(|(_, of)| of);
    let goes_on = |of: &&str| meant.len() >= 3 && of.to_ascii_uppercase().starts_with(&meant);
    nearest.or_else(|| names.clone().find(goes_on))
}

#[cfg(test)]
mod tests;
