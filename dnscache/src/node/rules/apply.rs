//! Looks at the machine and makes its rules what [`super::wanted`] says.

use std::net::IpAddr;
use std::time::Duration;

use thiserror::Error;
use tokio_util::sync::CancellationToken;

use super::command::{Bounds, CommandError, is_installed, run};
use super::iptables::{self, Change};
use super::saved::{self, Saved};
use super::steering::{Heart, OwnTable, Steering};
use super::{Condition, Rule, nft};
use crate::config::flags::node::RulesChoice;

/// The rules of this node, and what is known about how to set them.
pub struct Rules {
    choice: RulesChoice,
    addresses: Vec<IpAddr>,
    wanted: Vec<Rule>,
    /// What the table looked like when it was right.
    listing: Option<String>,
    steering: Steering,
    steering_failures: u32,
    /// This kernel cannot do it; said once.
    is_steering_impossible: bool,
    /// The table of somebody else that was warned about.
    foreign_firewall: Option<String>,
}

/// What holds the rules.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Backend {
    /// A table of our own.
    Nftables,
    /// Rules in the tables of iptables and ip6tables.
    Iptables,
}

impl Backend {
    /// Its name in metrics and messages.
    pub fn name(self) -> &'static str {
        match self {
            Self::Nftables => "nftables",
            Self::Iptables => "iptables",
        }
    }
}

/// What a check found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checked {
    /// What holds the rules.
    pub backend: Backend,
    /// What had to be done; empty if all was as it should be.
    pub done: Vec<String>,
}

/// Why the rules are not as they should be.
#[derive(Debug, Error)]
pub enum RulesError {
    /// Nothing to set rules with.
    #[error(
        "neither nft nor iptables-restore can set packet rules here ({0}); install one in the \
         image and give the container the capability CAP_NET_ADMIN, or say -setupiptables=false"
    )]
    Nothing(String),
    /// A program did not do it.
    #[error("{0}")]
    Command(#[from] CommandError),
}

impl RulesError {
    /// Whether somebody held the lock of iptables for too long.
    pub fn is_lock(&self) -> bool {
        matches!(self, Self::Command(CommandError::Locked(_)))
    }

    /// Whether the process is ending and this is no error at all.
    pub fn is_stopped(&self) -> bool {
        matches!(self, Self::Command(CommandError::Stopped(_)))
    }
}

/// One family's programs and what they show.
struct Family {
    restore: String,
    wanted: Vec<Rule>,
    addresses: Vec<IpAddr>,
    saved: Saved,
}

impl Rules {
    /// For these addresses; nothing is done yet.
    pub fn new(choice: RulesChoice, addresses: Vec<IpAddr>, health_port: u16) -> Self {
        let wanted = super::wanted(&addresses, health_port);
        Self {
            choice,
            addresses,
            wanted,
            listing: None,
            steering: Steering::Off,
            steering_failures: 0,
            is_steering_impossible: false,
            foreign_firewall: None,
        }
    }

    /// Makes the rules what they should be. `stop` gives up.
    ///
    /// # Errors
    /// What is missing; what was done before stays.
    pub async fn ensure(&mut self, stop: &CancellationToken) -> Result<Checked, RulesError> {
        let bounds = Bounds { limit: CHECK_MAX, stop: stop.clone() };
        let families = self.families(&bounds).await?;
        let backend = self.choose(&families, &bounds).await?;
        let covered: usize = families.iter().map(|family| family.addresses.len()).sum();
        if backend == Backend::Iptables && covered < self.addresses.len() {
            let missing = "iptables-restore or ip6tables-restore is missing or does not work";
            return Err(RulesError::Nothing(missing.to_owned()));
        }
        let mut done = Vec::new();
        // What is new stands before what was there goes.
        match backend {
            Backend::Nftables => {
                done.extend(self.ensure_table(&bounds).await?);
                self.look_for_firewall(&bounds).await;
                for family in &families {
                    done.extend(restore(family, &[], LOCK_SECS, &bounds).await?);
                }
            }
            Backend::Iptables => {
                for family in &families {
                    done.extend(self.ensure_family(family, &bounds).await?);
                }
                self.listing = None;
                if nft_listing(&bounds).await.is_some() {
                    run("nft", &["-f", "-"], &nft::remove_text(), &bounds).await?;
                    done.push("the table of nftables taken away".to_owned());
                }
            }
        }
        self.steer(backend, &bounds).await;
        Ok(Checked { backend, done })
    }

    /// Takes all rules away, those of either kind.
    pub async fn remove(mut self) -> Result<(), RulesError> {
        let bounds = Bounds { limit: REMOVE_MAX, stop: CancellationToken::new() };
        let families = self.families(&bounds).await.unwrap_or_default();
        let mut outcome = Ok(());
        for family in &families {
            if let Err(error) = restore(family, &[], REMOVE_LOCK_SECS, &bounds).await {
                outcome = Err(error.into());
            }
        }
        if nft_listing(&bounds).await.is_some() {
            let removed = run("nft", &["-f", "-"], &nft::remove_text(), &bounds).await;
            outcome = outcome.and(removed.map(drop).map_err(RulesError::from));
        }
        self.close().await;
        outcome
    }

    /// Ends what depends on this process and leaves the rest.
    pub async fn close(&mut self) {
        std::mem::replace(&mut self.steering, Steering::Off).close().await;
    }

    /// The families whose addresses we have, as iptables shows them; none where it is missing.
    async fn families(&self, bounds: &Bounds) -> Result<Vec<Family>, CommandError> {
        let mut families = Vec::new();
        for (is_v4, name) in [(true, "iptables"), (false, "ip6tables")] {
            let ours = |address: &IpAddr| address.is_ipv4() == is_v4;
            let addresses: Vec<IpAddr> = self.addresses.iter().copied().filter(ours).collect();
            if addresses.is_empty() || !is_installed(&format!("{name}-restore")) {
                continue;
            }
            let program = variant(name, bounds).await;
            let save = format!("{program}-save");
            let text = match tables(&save, bounds).await {
                Ok(text) => text,
                Err(error @ CommandError::Stopped(_)) => return Err(error),
                Err(error) if self.choice == RulesChoice::Iptables => return Err(error),
                // Installed, but not for this kernel; nftables may do.
                Err(error) => {
                    tracing::debug!(%error, "iptables is left alone");
                    continue;
                }
            };
            let wanted = self.wanted.iter().copied().filter(|rule| ours(&rule.address));
            families.push(Family {
                restore: format!("{program}-restore"),
                wanted: wanted.collect(),
                addresses,
                saved: saved::read(&text),
            });
        }
        Ok(families)
    }

    /// A firewall of iptables can only be passed by rules in its own chains. Where there is none,
    /// a table of our own is replaced at once and nobody else writes into it.
    async fn choose(&self, families: &[Family], bounds: &Bounds) -> Result<Backend, RulesError> {
        match self.choice {
            RulesChoice::Nftables => return Ok(Backend::Nftables),
            RulesChoice::Iptables => return Ok(Backend::Iptables),
            RulesChoice::Auto => {}
        }
        if families.iter().any(|family| family.saved.is_firewall) {
            return Ok(Backend::Iptables);
        }
        match run("nft", &["list", "tables"], "", bounds).await {
            Ok(_) => Ok(Backend::Nftables),
            Err(error @ CommandError::Stopped(_)) => Err(error.into()),
            Err(_) if !families.is_empty() => Ok(Backend::Iptables),
            Err(error) => Err(RulesError::Nothing(error.to_string())),
        }
    }

    async fn ensure_table(&mut self, bounds: &Bounds) -> Result<Option<String>, CommandError> {
        let listing = nft_listing(bounds).await;
        if let Some(listing) = &listing
            && nft::is_listed(listing, &self.wanted)
            && self.listing.as_ref().is_none_or(|known| known == listing)
        {
            self.listing = Some(listing.clone());
            return Ok(None);
        }
        run("nft", &["-f", "-"], &nft::replace_text(&self.wanted), bounds).await?;
        self.listing = nft_listing(bounds).await;
        Ok(Some(format!("the table inet {} put in place", nft::TABLE)))
    }

    /// Warns of a firewall that a table of ours cannot pass, once for each.
    async fn look_for_firewall(&mut self, bounds: &Bounds) {
        let chains = run("nft", &["list", "chains"], "", bounds).await.unwrap_or_default();
        let table = nft::dropping_table(&chains).map(str::to_owned);
        if let Some(table) =
            table.as_ref().filter(|table| self.foreign_firewall.as_ref() != Some(table))
        {
            tracing::warn!(
                "{table} drops what it does not accept, and no rule in another table can accept for \
                 it: make sure that it accepts port 53 of the addresses in -localip, both ways"
            );
        }
        self.foreign_firewall = table;
    }

    /// Sets one family's rules. A kernel without the `recent` match does without what needs it.
    async fn ensure_family(
        &mut self,
        family: &Family,
        bounds: &Bounds,
    ) -> Result<Option<String>, CommandError> {
        let without: Vec<Rule> = family
            .wanted
            .iter()
            .copied()
            .filter(|rule| rule.condition != Condition::ProcessAlive)
            .collect();
        if self.is_steering_impossible {
            return restore(family, &without, LOCK_SECS, bounds).await;
        }
        match restore(family, &family.wanted, LOCK_SECS, bounds).await {
            Err(error @ CommandError::Refused(..)) => {
                let done = restore(family, &without, LOCK_SECS, bounds).await?;
                self.steering_is_impossible(&format!("no match `recent`: {error}"));
                Ok(done)
            }
            outcome => outcome,
        }
    }

    /// Keeps the rules that depend on this process.
    async fn steer(&mut self, backend: Backend, bounds: &Bounds) {
        let is_right = match (&mut self.steering, backend) {
            (Steering::Table(table), Backend::Nftables) => table.stands(bounds).await,
            (Steering::Heart(_), Backend::Iptables) => true,
            _ => false,
        };
        let is_wanted = self.wanted.iter().any(|rule| rule.condition == Condition::ProcessAlive);
        if is_right || !is_wanted || self.is_steering_impossible {
            return;
        }
        self.close().await;
        match backend {
            Backend::Nftables => match OwnTable::make(&self.wanted, bounds).await {
                Some(table) => self.steering = Steering::Table(Box::new(table)),
                None if bounds.stop.is_cancelled() => {}
                None => {
                    self.steering_failures += 1;
                    if self.steering_failures >= STEERING_TRIES {
                        self.steering_is_impossible("no tables with an owner (Linux 5.12)");
                    }
                }
            },
            Backend::Iptables => {
                self.steering = Heart::start(&self.wanted).map_or(Steering::Off, Steering::Heart);
            }
        }
    }

    fn steering_is_impossible(&mut self, reason: &str) {
        self.is_steering_impossible = true;
        tracing::warn!(
            "processes of the node itself that ask a ClusterIP are answered through kube-proxy, \
             past this cache: {reason}"
        );
    }
}

/// Makes one family's rules exactly these, in one call.
async fn restore(
    family: &Family,
    wanted: &[Rule],
    lock_secs: u64,
    bounds: &Bounds,
) -> Result<Option<String>, CommandError> {
    let Change { text, added, removed } =
        iptables::change(&family.saved, wanted, &family.addresses);
    if text.is_empty() {
        return Ok(None);
    }
    let patience = lock_secs.to_string();
    run(&family.restore, &["--noflush", "-w", &patience], &text, bounds).await?;
    Ok(Some(format!("{}: {added} rules put in, {removed} taken out", family.restore)))
}

/// What a program shows of the tables our rules stand in. kube-proxy's own may hold thousands of
/// rules, which are left out.
async fn tables(save: &str, bounds: &Bounds) -> Result<String, CommandError> {
    let mut text = run(save, &["-t", "raw"], "", bounds).await?;
    text.push_str(&run(save, &["-t", "filter"], "", bounds).await?);
    Ok(text)
}

/// The table of the node, if it is there.
async fn nft_listing(bounds: &Bounds) -> Option<String> {
    run("nft", &["-s", "list", "table", "inet", nft::TABLE], "", bounds).await.ok()
}

/// The variant of iptables that the kubelet uses: it leaves a chain `KUBE-...` in the mangle table.
/// Where only one is installed or none shows such a chain, whatever `iptables` is.
async fn variant(name: &str, bounds: &Bounds) -> String {
    for kind in ["nft", "legacy"] {
        let program = format!("{name}-{kind}");
        let save = format!("{program}-save");
        if is_installed(&save)
            && run(&save, &["-t", "mangle"], "", bounds).await.is_ok_and(|t| t.contains(":KUBE-"))
        {
            return program;
        }
    }
    name.to_owned()
}

/// Checks that try to make a table for this process before it counts as impossible: a machine may
/// be too busy once.
const STEERING_TRIES: u32 = 3;
/// Seconds a check waits for the lock of iptables; node-cache's bound.
const LOCK_SECS: u64 = 5;
/// How long one call may take in a check.
const CHECK_MAX: Duration = Duration::from_secs(10);
/// Seconds the end of the process waits for that lock: a container is killed if it takes long.
const REMOVE_LOCK_SECS: u64 = 1;
/// How long one call may take at the end.
const REMOVE_MAX: Duration = Duration::from_secs(2);
