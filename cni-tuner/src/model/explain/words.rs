//! An explanation's sentences.

use crate::model::explain::{Action, Idle, cooling};
use crate::model::ipamd::{Growth, Keep, Rules, Stuck};
use crate::model::pool::{Eni, PREFIX_ADDRESSES, Stats};
use crate::model::settings::Mode;
use crate::model::state::State;
use crate::words::counted;

/// Why the next pass does what it does.
pub(super) fn reason(state: &State, stats: &Stats, action: &Action) -> String {
    let rules = state.rules();
    match action {
        Action::Increase(growth) => {
            format!("{}; {}.", shortage(&rules, stats), how_it_grows(state, growth))
        }
        Action::Decrease(count) => format!(
            "{}; {} given back{}.",
            surplus(&rules, stats),
            are(*count, rules.settings.mode),
            if stats.cooling > 0 { ", cooling ones too" } else { "" }
        ),
        Action::FreeEni(eni) => {
            let first = match (rules.is_too_low(stats), rules.is_too_high(stats)) {
                (true, _) => {
                    format!("{}, but nothing more can be attached; ", shortage(&rules, stats))
                }
                (_, true) => format!("{}, which waits for its 30 s; ", surplus(&rules, stats)),
                _ => String::new(),
            };
            let name = state.name(*eni);
            format!("{first}{name} has no pods and {}.", sought(&rules, stats))
        }
        Action::None(idle) => none(&rules, stats, *idle),
    }
}

fn none(rules: &Rules, stats: &Stats, idle: Idle) -> String {
    match idle {
        Idle::InBalance if stats.total >= rules.shape.pods_max => format!(
            "{} addresses are held and max_pods is {}: the pool counts as large enough.",
            stats.total, rules.shape.pods_max
        ),
        Idle::InBalance => format!("{}: nothing is to be done.", balance(rules, stats)),
        Idle::Stuck(Stuck::EnisMax) => {
            let shape = rules.shape;
            let kept = shape.unmanaged + u32::from(shape.trunk_reserved);
            let others =
                if kept > 0 { format!(" ({kept} kept for others)") } else { String::new() };
            format!(
                "{}, but no ENI has room and {} of {} ENIs{others} are attached: it cannot grow.",
                shortage(rules, stats),
                stats.enis,
                shape.enis_max
            )
        }
        Idle::Stuck(Stuck::NothingWanted) => {
            format!("{}, but nothing is asked for.", shortage(rules, stats))
        }
        Idle::Cordoned => {
            format!("{}, but a cordoned node does not grow.", shortage(rules, stats))
        }
        Idle::ReleasedLately { since_ms } => format!(
            "{}, but the last release was {} s ago and the next comes after 30 s.",
            surplus(rules, stats),
            since_ms / 1000
        ),
    }
}

/// What of the settings the pool falls short of.
fn shortage(rules: &Rules, stats: &Stats) -> String {
    let (settings, available) = (rules.settings, stats.available());
    let target = rules.target_state(stats);
    if target.enabled {
        let of_warm = settings.warm_ip.saturating_sub(available);
        let of_minimum = settings.minimum_ip.saturating_sub(stats.total);
        let asks = if of_warm >= of_minimum {
            let wanted = counted(settings.warm_ip, "available address");
            format!(
                "WARM_IP_TARGET={} asks for {wanted} and {available} are there",
                settings.warm_ip
            )
        } else {
            let wanted = counted(settings.minimum_ip, "address");
            let held = stats.total;
            format!(
                "MINIMUM_IP_TARGET={} asks for {wanted} and {held} are held",
                settings.minimum_ip
            )
        };
        return format!("{asks}: {} short", counted(target.short, settings.mode.unit()));
    }
    let (name, value, unit) = unit(rules);
    if value == 0 {
        return format!("{name}=0 and no address is available");
    }
    let wanted = unit.saturating_mul(value);
    format!(
        "{name}={value} asks for {value} x {unit} = {wanted} available addresses and {available} are \
         there"
    )
}

/// The setting that counts where `WARM_IP_TARGET` and `MINIMUM_IP_TARGET` are not set, its value, and
/// the addresses one of it stands for.
fn unit(rules: &Rules) -> (&'static str, u32, u32) {
    match rules.settings.mode {
        Mode::SecondaryIp => {
            ("WARM_ENI_TARGET", rules.settings.warm_eni, rules.addresses_per_eni())
        }
        Mode::Prefix => ("WARM_PREFIX_TARGET", rules.settings.warm_prefix, PREFIX_ADDRESSES),
    }
}

fn surplus(rules: &Rules, stats: &Stats) -> String {
    let settings = rules.settings;
    let over = counted(rules.to_release(stats), settings.mode.unit());
    if !settings.is_targeted() {
        let (free, warm) = (stats.free_prefixes, settings.warm_prefix);
        return format!("{free} prefixes are free and WARM_PREFIX_TARGET={warm}: {over} too many");
    }
    format!(
        "{} are available and {} held, with {}: {over} too many",
        stats.available(),
        stats.total,
        targets(rules)
    )
}

fn balance(rules: &Rules, stats: &Stats) -> String {
    let held = counted(stats.total, "address");
    let available = stats.available();
    if rules.settings.is_targeted() {
        return format!("{held} held and {available} available are within {}", targets(rules));
    }
    let (name, value, unit) = unit(rules);
    let free = match rules.settings.mode {
        Mode::SecondaryIp => String::new(),
        Mode::Prefix => format!(" and {} free prefixes", stats.free_prefixes),
    };
    let wanted = unit.saturating_mul(value);
    format!(
        "{available} available addresses{free} are enough for {name}={value} ({value} x {unit} = \
         {wanted})"
    )
}

fn targets(rules: &Rules) -> String {
    let settings = rules.settings;
    match (settings.warm_ip, settings.minimum_ip) {
        (warm, 0) => format!("WARM_IP_TARGET={warm}"),
        (0, minimum) => format!("MINIMUM_IP_TARGET={minimum}"),
        (warm, minimum) => format!("WARM_IP_TARGET={warm} and MINIMUM_IP_TARGET={minimum}"),
    }
}

fn how_it_grows(state: &State, growth: &Growth) -> String {
    let mode = state.settings.mode;
    match growth {
        Growth::TopUp { enis, want } => {
            let room = |id: &u32| {
                let used = state.pool.eni(*id).map_or(0, |eni| eni.cidrs.len() as u32);
                state.shape.slots.saturating_sub(used)
            };
            let most = enis.iter().map(room).max().unwrap_or(0).min(*want);
            let names: Vec<&str> = enis.iter().map(|id| state.name(*id)).collect();
            let up_to = if enis.len() > 1 { "up to " } else { "" };
            let of = names.join(" or ");
            format!("{up_to}{} attached to {of} in one call", are(most, mode))
        }
        Growth::NewEni { count } => format!(
            "no ENI has room, so a new one comes with {} (ENI {} of {})",
            counted(*count, mode.unit()),
            state.pool.enis().len() + 1,
            state.shape.enis_max
        ),
        Growth::Stuck(_) => "nothing can be done".to_owned(),
    }
}

/// Why an ENI stays.
pub(super) fn keep(state: &State, eni: &Eni, keep: &Keep) -> String {
    let settings = &state.settings;
    match *keep {
        Keep::Primary => "stays: the primary ENI is never freed".to_owned(),
        Keep::TooYoung { age_ms } => {
            format!("stays: it is {} s old, and freed after 60 s at the earliest", age_ms / 1000)
        }
        Keep::Cooling => {
            let cooling = cooling(state, eni);
            let verb = if cooling == 1 { "cools" } else { "cool" };
            format!("stays: {cooling} of its addresses {verb} down")
        }
        Keep::HasPods { pods } => {
            let has = if pods == 1 { "1 pod has" } else { &format!("{pods} pods have") };
            format!("stays: {has} addresses of it")
        }
        Keep::WarmIp { elsewhere, needed } => format!(
            "stays: without it {elsewhere} addresses would be free, and WARM_IP_TARGET={} needs {}",
            settings.warm_ip,
            rounded(settings.warm_ip, needed)
        ),
        Keep::MinimumIp { elsewhere, needed } => format!(
            "stays: without it {elsewhere} addresses would be held, and MINIMUM_IP_TARGET={} needs \
             {}",
            settings.minimum_ip,
            rounded(settings.minimum_ip, needed)
        ),
        Keep::WarmPrefix { elsewhere, needed } => {
            let although =
                if settings.is_targeted() { ", which counts here all the same" } else { "" };
            format!(
                "stays: without it {elsewhere} prefixes would be free, and \
                 WARM_PREFIX_TARGET={needed} needs {needed}{although}"
            )
        }
        Keep::Trunk => "stays: it is the trunk of security groups for pods".to_owned(),
        Keep::Efa => "stays: it is an Elastic Fabric Adapter".to_owned(),
    }
}

fn rounded(target: u32, needed: u32) -> String {
    if target == needed { needed.to_string() } else { format!("{needed}, whole prefixes") }
}

/// Why the pass does not look for an ENI to free.
pub(super) fn not_sought(rules: &Rules, stats: &Stats) -> String {
    let (name, value, _) = unit(rules);
    let unit = rules.addresses_per_eni();
    format!(
        "could go, but it is not looked for: {} available are less than ({name} {value} + 1) x \
         {unit}",
        stats.available()
    )
}

fn sought(rules: &Rules, stats: &Stats) -> String {
    if rules.settings.is_targeted() {
        return format!("the others hold enough for {}", targets(rules));
    }
    let (name, value, _) = unit(rules);
    let unit = rules.addresses_per_eni();
    let wanted = unit.saturating_mul(value.saturating_add(1));
    if stats.available() < wanted {
        return "the others hold enough free prefixes".to_owned();
    }
    format!(
        "{} available addresses are at least ({name} {value} + 1) x {unit} = {wanted}",
        stats.available()
    )
}

/// `1 address is`, `29 addresses are`.
fn are(count: u32, mode: Mode) -> String {
    format!("{} {}", counted(count, mode.unit()), if count == 1 { "is" } else { "are" })
}
