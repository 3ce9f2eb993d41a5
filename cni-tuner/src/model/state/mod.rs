//! The state of one node's pool as a person or a program reports it: settings, limits, ENIs.

mod enis;
mod fields;

use serde_json::Value;

use crate::model::ipamd::{Rules, Shape};
use crate::model::limits::{self, InstanceType};
use crate::model::pool::{EniId, Pool};
use crate::model::settings::{Mode, Settings};

use enis::Reported;
use fields::{Document, Fields};

/// The moment of a reported state, on a clock of its own that began long before any ENI was added.
pub const NOW_MS: u64 = 10_000_000_000_000;

/// The most of what is counted in a state; more than any node has.
const COUNT_MAX: u32 = 100_000;
/// The most addresses or prefixes an ENI has room for; the largest types take 63.
const SLOTS_MAX: u32 = 256;
/// The most ENIs of a state; the largest types take 24 on their default network card.
const ENIS_MAX: usize = 128;
/// Thirty years, in seconds.
const AGE_MAX_SECS: u32 = 1_000_000_000;
/// kubelet's default, and what ipamd takes where it knows nothing better.
const PODS_MAX: u32 = 110;
/// Where nothing says how many ENIs there may be: more than any type has.
const ENIS_UNKNOWN: u32 = 1_000;

/// A node at [`NOW_MS`].
#[derive(Debug, Clone)]
pub struct State {
    /// Its settings, with the mode in force.
    pub settings: Settings,
    /// Its limits.
    pub shape: Shape,
    /// Its ENIs and what is on them; an [`EniId`] is the place in `names`.
    pub pool: Pool,
    /// The ENIs' names, in the order they were reported.
    pub names: Vec<String>,
    /// Whether its node is cordoned.
    pub is_cordoned: bool,
    /// When addresses were last released; none: it does not matter any more.
    pub released_ms: Option<u64>,
    /// What had to be assumed, a sentence each.
    pub notes: Vec<String>,
}

/// What is wrong with a reported state, with the field it stands in.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct StateError(String);

impl State {
    /// Reads a state from JSON.
    ///
    /// # Errors
    ///
    /// [`StateError`] where it is no JSON, has fields that there are not, or contradicts itself.
    pub fn parse(json: &str) -> Result<State, StateError> {
        let document = serde_json::from_str::<Document>(json);
        let Document(value) = document.map_err(|error| StateError(error.to_string()))?;
        read(value).map_err(StateError)
    }

    /// The rules that hold on it.
    pub fn rules(&self) -> Rules<'_> {
        Rules { settings: &self.settings, shape: self.shape }
    }

    /// An ENI's name.
    pub fn name(&self, eni: EniId) -> &str {
        self.names.get(eni as usize).map_or("an ENI", String::as_str)
    }
}

fn read(value: Value) -> Result<State, String> {
    let mut fields = Fields::of(String::new(), value)?;
    let mut notes = Vec::new();
    let kind = instance_type(&mut fields)?;
    let settings = settings(&mut fields, kind, &mut notes)?;
    let mut shape = shape(&mut fields, kind, &settings, &mut notes)?;
    let is_cordoned = fields.switch("cordoned")?;
    let since_release_ms = fields.secs("last_release_s", AGE_MAX_SECS)?;
    let enis = fields.take("enis");
    fields.finish()?;
    let enis = Reported::all(enis, settings.mode, shape.slots, &mut notes)?;
    check_count(&enis, kind, &shape)?;
    shape.trunk_reserved = settings.pod_eni && !enis.iter().any(|eni| eni.kind.is_trunk);
    let mut pool = Pool::new(settings.mode, settings.cooldown_ms);
    for (id, eni) in (0..).zip(&enis) {
        eni.add_to(&mut pool, id, NOW_MS);
    }
    let names = enis.into_iter().map(|eni| eni.name).collect();
    let released_ms = since_release_ms.map(|since_ms| NOW_MS - since_ms);
    Ok(State { settings, shape, pool, names, is_cordoned, released_ms, notes })
}

fn instance_type(fields: &mut Fields) -> Result<Option<&'static InstanceType>, String> {
    let Some(name) = fields.text("instance_type")? else { return Ok(None) };
    let known = limits::find(&name).map(Some);
    known.ok_or_else(|| match limits::suggest(&name)[..] {
        [] => format!("instance_type: there is no {name}; `cni-tuner limits --all` lists all"),
        ref near => format!("instance_type: there is no {name}; is {} meant?", near.join(" or ")),
    })
}

fn settings(
    fields: &mut Fields,
    kind: Option<&InstanceType>,
    notes: &mut Vec<String>,
) -> Result<Settings, String> {
    let usual = Settings::default();
    let mut count = |name, usual| fields.count(name, COUNT_MAX).map(|count| count.unwrap_or(usual));
    let warm_eni = count("warm_eni_target", usual.warm_eni)?;
    let warm_ip = count("warm_ip_target", usual.warm_ip)?;
    let minimum_ip = count("minimum_ip_target", usual.minimum_ip)?;
    let warm_prefix = count("warm_prefix_target", usual.warm_prefix)?;
    let enis_max = fields.count("max_eni", COUNT_MAX)?;
    if enis_max == Some(0) {
        return Err("max_eni: 0: at least 1 is needed, or null for the type's limit".to_owned());
    }
    let custom_networking = fields.switch("custom_networking")?;
    let pod_eni = fields.switch("pod_eni")?;
    let asked = mode(fields)?;
    let mode = kind.map_or(asked, |kind| kind.mode(asked));
    if mode != asked {
        notes.push("The type cannot have prefixes: secondary addresses are in force.".to_owned());
    }
    Ok(Settings {
        mode,
        warm_eni,
        warm_ip,
        minimum_ip,
        warm_prefix,
        enis_max,
        custom_networking,
        pod_eni,
        ..usual
    })
}

fn mode(fields: &mut Fields) -> Result<Mode, String> {
    match fields.text("mode")?.as_deref() {
        None | Some("sip") => Ok(Mode::SecondaryIp),
        Some("pd") => Ok(Mode::Prefix),
        Some(other) => Err(format!(
            "mode: {other:?}: \"sip\" (secondary addresses) or \"pd\" (prefix delegation) is needed"
        )),
    }
}

fn shape(
    fields: &mut Fields,
    kind: Option<&InstanceType>,
    settings: &Settings,
    notes: &mut Vec<String>,
) -> Result<Shape, String> {
    let slots = fields.count("ips_per_eni", SLOTS_MAX)?;
    let slots = match (slots, kind) {
        (Some(0), _) => return Err("ips_per_eni: 0: an ENI has room for at least 1".to_owned()),
        (Some(slots), Some(kind)) if slots != kind.slots_per_eni() => {
            return Err(format!(
                "ips_per_eni: {slots}, but an ENI of a {} has room for {} beside its own address",
                kind.name,
                kind.slots_per_eni()
            ));
        }
        (Some(slots), _) => slots,
        (None, Some(kind)) => kind.slots_per_eni(),
        (None, None) => return Err("instance_type or ips_per_eni is needed".to_owned()),
    };
    let limit = kind.map(|kind| kind.enis_max);
    let bound = settings.enis_max.into_iter().chain(limit).min();
    if bound.is_none() {
        notes.push(
            "Neither max_eni nor instance_type is given: ENIs are taken to be free to attach."
                .to_owned(),
        );
    }
    let pods_max = fields.count("max_pods", COUNT_MAX)?.unwrap_or_else(|| {
        let of_kind = kind.map(|kind| kind.pods_max(settings.mode, settings.custom_networking));
        let pods_max = of_kind.unwrap_or(PODS_MAX);
        notes.push(format!("max_pods is not given: {pods_max} is taken."));
        pods_max
    });
    if pods_max == 0 {
        return Err("max_pods: 0: a node that takes no pods needs no pool".to_owned());
    }
    let unmanaged = fields.count("unmanaged_enis", COUNT_MAX)?.unwrap_or(0);
    let enis_max = bound.unwrap_or(ENIS_UNKNOWN);
    Ok(Shape { slots, enis_max, unmanaged, trunk_reserved: false, pods_max })
}

/// There cannot be more ENIs than the instance takes. `MAX_ENI` may have been lowered below what is
/// attached already.
fn check_count(
    enis: &[Reported],
    kind: Option<&InstanceType>,
    shape: &Shape,
) -> Result<(), String> {
    let there = enis.len() as u32 + shape.unmanaged;
    let Some(kind) = kind.filter(|kind| there > kind.enis_max) else { return Ok(()) };
    let unmanaged = if shape.unmanaged > 0 { ", unmanaged ones included" } else { "" };
    let (name, limit) = (kind.name, kind.enis_max);
    Err(format!("enis: there are {there}{unmanaged}, but a {name} takes {limit} at most"))
}

#[cfg(test)]
mod tests;
