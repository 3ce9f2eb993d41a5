//! What the process gives up before it reads its first packet: capabilities, new privileges, and
//! system calls that neither it nor the programs it starts make.
//!
//! Capabilities and the ban on new privileges belong to a thread and are inherited by those it
//! starts. So [`confine`] is called by `main` before there is any other thread, which is earlier
//! than necessary: sockets are opened and the interface is made with what is kept, because reloads
//! and repairs need the same again.

use caps::{CapSet, Capability, CapsHashSet};
use seccompiler::{BpfProgram, SeccompAction, SeccompFilter, TargetArch};

use crate::config::flags::Flags;

/// What the process will have to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tasks {
    /// It keeps an interface or packet rules.
    pub administers_network: bool,
    /// It starts `nft` or `iptables` for its packet rules.
    pub starts_programs: bool,
}

impl Tasks {
    /// What the flags ask for. Without addresses there is nothing to keep.
    pub fn of(flags: &Flags) -> Self {
        let has_addresses = !flags.node_addresses.is_empty();
        Self {
            administers_network: has_addresses && (flags.setup_interface || flags.setup_iptables),
            starts_programs: has_addresses && flags.setup_iptables,
        }
    }

    /// What the threads of this process may still do: open port 53 at a reload, and repair.
    fn kept(self) -> CapsHashSet {
        let administration = self.administers_network.then_some(Capability::CAP_NET_ADMIN);
        administration.into_iter().chain([Capability::CAP_NET_BIND_SERVICE]).collect()
    }

    /// What a program started by this process may have. The older `iptables` opens a raw socket
    /// only to speak to the kernel about tables. Where new privileges are ruled out, a program gets
    /// what its parent is permitted and no more, so this process is permitted it and never uses it.
    fn kept_for_programs(self) -> CapsHashSet {
        let raw = self.starts_programs.then_some(Capability::CAP_NET_RAW);
        self.kept().into_iter().chain(raw).collect()
    }
}

/// What became of it, to be told when there is a log.
#[derive(Debug, Default)]
pub struct Confined {
    /// Capabilities the threads have.
    kept: Vec<String>,
    /// What the machine or its operator does not allow; each is a sentence's end.
    missing: Vec<String>,
}

impl Confined {
    /// Writes what is kept, and what could not be given up.
    pub fn report(&self) {
        tracing::debug!(capabilities = self.kept.join(" "), "confined");
        for missing in &self.missing {
            tracing::warn!("{missing}; going on as it is (-confine=false does not try)");
        }
    }

    fn note(&mut self, what: &str, outcome: Result<(), impl std::fmt::Display>) {
        if let Err(error) = outcome {
            self.missing.push(format!("{what}: {error}"));
        }
    }
}

/// Gives up what is not needed. What cannot be given up stays, and is said in the outcome; a
/// machine that is older or stricter than this program expects still gets its DNS.
pub fn confine(tasks: Tasks) -> Confined {
    let mut confined = Confined::default();
    let bounded = bound_programs(&tasks.kept_for_programs());
    confined.note("capabilities of programs it starts cannot be bounded", bounded);
    confined.note("capabilities cannot be given up", give_up(tasks));
    let no_new = nix::sys::prctl::set_no_new_privs();
    confined.note("new privileges cannot be ruled out", no_new);
    confined.note("system calls cannot be filtered", filter_calls());
    let kept = caps::read(None, CapSet::Effective).unwrap_or_default();
    confined.kept = kept.iter().map(ToString::to_string).collect();
    confined.kept.sort();
    confined
}

/// Takes what is not in `kept` out of the bounding set, which is all that a program started by root
/// can have. Who may not do that (CAP_SETPCAP) leaves it: where new privileges are ruled out, a
/// program gets no more than its parent is permitted anyway.
fn bound_programs(kept: &CapsHashSet) -> Result<(), String> {
    let may = caps::has_cap(None, CapSet::Effective, Capability::CAP_SETPCAP);
    if !may.map_err(|error| error.to_string())? {
        return Ok(());
    }
    let bound = caps::read(None, CapSet::Bounding).map_err(|error| error.to_string())?;
    let mut needless = bound.difference(kept);
    needless
        .try_for_each(|capability| caps::drop(None, CapSet::Bounding, *capability))
        .map_err(|error| error.to_string())
}

/// Reduces the four other sets to what is both there and needed, from the weakest to the strongest:
/// the ambient set lies within the inheritable one, the effective within the permitted.
fn give_up(tasks: Tasks) -> Result<(), caps::errors::CapsError> {
    let (own, programs) = (tasks.kept(), tasks.kept_for_programs());
    for (set, kept) in [
        (CapSet::Ambient, &programs),
        (CapSet::Inheritable, &programs),
        (CapSet::Effective, &own),
        (CapSet::Permitted, &programs),
    ] {
        let there = caps::read(None, set)?;
        let left: CapsHashSet = there.intersection(kept).copied().collect();
        if left != there {
            caps::set(None, set, &left)?;
        }
    }
    Ok(())
}

/// Makes the kernel refuse [`REFUSED_CALLS`] with EPERM, to all threads and to programs they start.
///
/// The filter looks at nothing but the number of a call, so kernels from 5.11 on know its answer to
/// each number in advance. Measured on 6.18, five million `getppid` three times: 347 to 370 ns each
/// before it, 342 to 393 ns after; and a worker makes two calls for a whole batch.
fn filter_calls() -> Result<(), String> {
    let release = nix::sys::utsname::uname().map_err(|error| error.to_string())?;
    let status = std::fs::read_to_string("/proc/thread-self/status").unwrap_or_default();
    if slows_down(&release.release().to_string_lossy(), &status) {
        return Err("this kernel would slow the process down for it (before 5.16)".to_owned());
    }
    let program = filter(std::env::consts::ARCH)?;
    seccompiler::apply_filter_all_threads(&program).map_err(|error| error.to_string())
}

/// Whether the kernel ends speculation past stores for whoever has a filter, which costs every
/// loop some percent. That was the default before Linux 5.16 on processors it matters for.
fn slows_down(release: &str, status: &str) -> bool {
    let mut numbers = release.split(['.', '-']).map(|word| word.parse::<u32>().unwrap_or(0));
    let version = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    let store_bypass =
        status.lines().find_map(|line| line.strip_prefix("Speculation_Store_Bypass:"));
    version < (5, 16) && store_bypass.is_some_and(|state| state.trim() == "thread vulnerable")
}

fn filter(architecture: &str) -> Result<BpfProgram, String> {
    let architecture = TargetArch::try_from(architecture).map_err(|error| error.to_string())?;
    let refused = REFUSED_CALLS.iter().chain(REFUSED_CALLS_OF_X86).map(|call| (*call, vec![]));
    let refusal = SeccompAction::Errno(libc::EPERM as u32);
    SeccompFilter::new(refused.collect(), SeccompAction::Allow, refusal, architecture)
        .and_then(BpfProgram::try_from)
        .map_err(|error| error.to_string())
}

/// Calls that no DNS server makes, nor `nft` or `iptables`, and that an intruder would: into other
/// processes, the kernel's code, its keys, mounts, namespaces and clocks. `iptables` may try to load
/// a module; the kernel does that by itself when the rule comes.
#[rustfmt::skip]
const REFUSED_CALLS: &[libc::c_long] = &[
    // Other processes.
    libc::SYS_ptrace, libc::SYS_process_vm_readv, libc::SYS_process_vm_writev, libc::SYS_kcmp,
    libc::SYS_pidfd_getfd, libc::SYS_process_madvise,
    // The kernel's code, and ways into it that have often been open.
    libc::SYS_init_module, libc::SYS_finit_module, libc::SYS_delete_module, libc::SYS_kexec_load,
    libc::SYS_bpf, libc::SYS_perf_event_open, libc::SYS_userfaultfd, libc::SYS_io_uring_setup,
    libc::SYS_io_uring_enter, libc::SYS_io_uring_register, libc::SYS_lookup_dcookie,
    libc::SYS_syslog, libc::SYS_personality,
    // Keys.
    libc::SYS_add_key, libc::SYS_request_key, libc::SYS_keyctl,
    // Mounts, namespaces and files by handle.
    libc::SYS_mount, libc::SYS_umount2, libc::SYS_pivot_root, libc::SYS_chroot, libc::SYS_open_tree,
    libc::SYS_move_mount, libc::SYS_fsopen, libc::SYS_fsconfig, libc::SYS_fsmount, libc::SYS_fspick,
    libc::SYS_mount_setattr, libc::SYS_unshare, libc::SYS_setns, libc::SYS_open_by_handle_at,
    libc::SYS_fanotify_init, libc::SYS_quotactl,
    // The machine.
    libc::SYS_reboot, libc::SYS_swapon, libc::SYS_swapoff, libc::SYS_acct, libc::SYS_sethostname,
    libc::SYS_setdomainname, libc::SYS_settimeofday, libc::SYS_clock_settime,
    libc::SYS_clock_adjtime, libc::SYS_adjtimex, libc::SYS_vhangup,
];

/// Those that only this architecture has.
#[cfg(target_arch = "x86_64")]
const REFUSED_CALLS_OF_X86: &[libc::c_long] =
    &[libc::SYS_iopl, libc::SYS_ioperm, libc::SYS_modify_ldt, libc::SYS_kexec_file_load];
#[cfg(not(target_arch = "x86_64"))]
const REFUSED_CALLS_OF_X86: &[libc::c_long] = &[];

#[cfg(test)]
mod tests {
    use super::*;

    fn tasks(words: &[&str]) -> Tasks {
        let words = std::iter::once("dnscache").chain(words.iter().copied());
        Tasks::of(&Flags::read(words.map(Into::into)).expect("flags"))
    }

    fn names(capabilities: &CapsHashSet) -> Vec<String> {
        let mut names: Vec<String> = capabilities.iter().map(ToString::to_string).collect();
        names.sort();
        names
    }

    #[test]
    fn what_is_kept_depends_on_what_is_kept_up() {
        let check = |words: &[&str], threads: &[&str], programs: &[&str]| {
            let tasks = tasks(words);
            assert_eq!(names(&tasks.kept()), threads, "{words:?}");
            assert_eq!(names(&tasks.kept_for_programs()), programs, "{words:?}");
        };
        let (bind, admin, raw) = ("CAP_NET_BIND_SERVICE", "CAP_NET_ADMIN", "CAP_NET_RAW");
        let address = "-localip=169.254.20.10";
        check(&[], &[bind], &[bind]);
        check(&[address], &[admin, bind], &[admin, bind, raw]);
        check(&[address, "-setupiptables=false"], &[admin, bind], &[admin, bind]);
        check(&[address, "-setupinterface=false"], &[admin, bind], &[admin, bind, raw]);
        check(&[address, "-setupinterface=false", "-setupiptables=false"], &[bind], &[bind]);
    }

    #[test]
    fn old_kernels_that_would_slow_down_are_spared() {
        let status = "Name:\tx\nSpeculation_Store_Bypass:\tthread vulnerable\n";
        assert!(slows_down("5.10.234-225.910.amzn2.x86_64", status));
        assert!(slows_down("4.14.0", status));
        assert!(!slows_down("5.16.0-rc1", status));
        assert!(!slows_down("6.1.119", status));
        assert!(!slows_down("5.10.0", "Speculation_Store_Bypass:\tnot vulnerable\n"));
        assert!(!slows_down("5.10.0", "Speculation_Store_Bypass:\tvulnerable\n"));
        assert!(!slows_down("5.10.0", ""));
    }

    #[test]
    fn the_filter_can_be_made_for_both_architectures() {
        for architecture in ["x86_64", "aarch64"] {
            let program = filter(architecture).expect("a program");
            // Every call takes one comparison at least; the kernel takes 4,096 instructions.
            assert!((REFUSED_CALLS.len()..4_096).contains(&program.len()), "{}", program.len());
        }
        assert!(filter("pdp11").is_err());
    }
}
