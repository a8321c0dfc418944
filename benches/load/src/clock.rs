//! Time, processor time, cores, and the limit of descriptors: what the system is asked for.

use anyhow::{Context as _, Result};
use nix::{
    sched::{CpuSet, sched_getaffinity, sched_setaffinity},
    sys::resource::{Resource, getrlimit, setrlimit},
    time::{ClockId, clock_getcpuclockid, clock_gettime},
    unistd::Pid,
};

/// How many hexadecimal digits of a time stand at the front of each delta.
pub(crate) const STAMP: usize = 14;

/// Nanoseconds of `CLOCK_MONOTONIC`.
pub(crate) fn now() -> u64 {
    clock_gettime(ClockId::CLOCK_MONOTONIC)
        .map_or(0, |time| nanoseconds(time.tv_sec(), time.tv_nsec()))
}

/// The processor time that a process has taken, all of its threads together, also those that have ended: in nanoseconds, from the
/// process's own clock. `/proc/PID/stat` has the same in ticks of 10 ms.
pub(crate) fn processor_time(pid: u32) -> Result<u64> {
    let clock = clock_getcpuclockid(Pid::from_raw(pid.cast_signed()))
        .context("the process has no clock")?;
    let time = clock_gettime(clock).context("the process's clock cannot be read")?;
    Ok(nanoseconds(time.tv_sec(), time.tv_nsec()))
}

fn nanoseconds(seconds: i64, rest: i64) -> u64 {
    u64::try_from(seconds * 1_000_000_000 + rest).unwrap_or(0)
}

/// Two cores that this process may run on, if there are so many: one for the server, one for the load.
pub(crate) fn two_cores() -> Option<[usize; 2]> {
    let set = sched_getaffinity(Pid::from_raw(0)).ok()?;
    let mut cores = (0..CpuSet::count()).filter(|core| set.is_set(*core).unwrap_or(false));
    Some([cores.next()?, cores.next()?])
}

/// Ties this thread, and what it starts from now on, to this core.
pub(crate) fn pin(core: usize) -> Result<()> {
    let mut set = CpuSet::new();
    set.set(core).context("no such core")?;
    sched_setaffinity(Pid::from_raw(0), &set).context("cannot be tied to a core")
}

/// Puts this thread before all others.
pub(crate) fn go_first() -> Result<()> {
    rustix::process::setpriority_process(None, -15).context("the priority stays")
}

/// Puts this thread behind all others.
pub(crate) fn give_way() -> Result<()> {
    rustix::process::setpriority_process(None, 19).context("the priority stays")
}

/// Takes as many descriptors as there may be; the processes that are started inherit that. Tells how many.
pub(crate) fn raise_descriptors() -> Result<u64> {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard)?;
    Ok(hard)
}
