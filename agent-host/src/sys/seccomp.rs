//! Seccomp filters from lists of system calls.

mod syscalls;

use nix::libc;
use seccompiler::{
    Error, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule, apply_filter_all_threads,
};
use std::collections::BTreeMap;

use syscalls::{ALLOWED, FirstArgument, REFUSED, SyscallRule};

type Rules = BTreeMap<i64, Vec<SeccompRule>>;

/// Kills the process when a thread makes a call that is in neither list of [`syscalls`]. Calls in [`REFUSED`] fail with
/// `EACCES`. Both filters see every call, and the stricter result counts.
pub(crate) fn allow_listed_calls() -> Result<(), Error> {
    let known = rules(ALLOWED.iter().chain(REFUSED))?;
    let refused = rules(REFUSED)?;
    #[allow(clippy::cast_sign_loss, reason = "error numbers are positive")]
    apply(
        refused,
        SeccompAction::Allow,
        SeccompAction::Errno(libc::EACCES as u32),
    )?;
    apply(known, SeccompAction::KillProcess, SeccompAction::Allow)
}

/// Kills the process when a thread makes memory executable.
pub(crate) fn no_new_code() -> Result<(), Error> {
    #[allow(clippy::cast_sign_loss, reason = "a flag")]
    let executable = libc::PROT_EXEC as u64;
    let rule = || {
        let masked = SeccompCmpOp::MaskedEq(executable);
        let condition = SeccompCondition::new(2, SeccompCmpArgLen::Dword, masked, executable)?;
        Ok::<_, Error>(vec![SeccompRule::new(vec![condition])?])
    };
    let rules = [
        (libc::SYS_mmap, rule()?),
        (libc::SYS_mprotect, rule()?),
        (libc::SYS_pkey_mprotect, rule()?),
    ];
    apply(
        rules.into(),
        SeccompAction::Allow,
        SeccompAction::KillProcess,
    )
}

fn apply(rules: Rules, otherwise: SeccompAction, matching: SeccompAction) -> Result<(), Error> {
    let architecture = std::env::consts::ARCH.try_into()?;
    let filter = SeccompFilter::new(rules, otherwise, matching, architecture)?;
    let program: seccompiler::BpfProgram = filter.try_into()?;
    apply_filter_all_threads(&program)
}

fn rules<'a>(entries: impl IntoIterator<Item = &'a SyscallRule>) -> Result<Rules, Error> {
    entries
        .into_iter()
        .map(|(call, first, _)| Ok((*call, first_argument(*first)?)))
        .collect()
}

/// One rule for each value of the first argument. No rules admit any value.
fn first_argument(first: FirstArgument) -> Result<Vec<SeccompRule>, Error> {
    let own = [i32::try_from(std::process::id()).unwrap_or(i32::MAX)];
    let values = match first {
        FirstArgument::Any => &[][..],
        FirstArgument::OneOf(values) => values,
        FirstArgument::OwnProcess => &own,
    };
    let rule = |value: &i32| {
        #[allow(
            clippy::cast_sign_loss,
            reason = "process numbers and options are positive"
        )]
        let value = *value as u64;
        let condition = SeccompCondition::new(0, SeccompCmpArgLen::Dword, SeccompCmpOp::Eq, value)?;
        Ok(SeccompRule::new(vec![condition])?)
    };
    values.iter().map(rule).collect()
}
