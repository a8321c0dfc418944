//! The process as the system sees it, under the names that all Prometheus clients use.

/// Where the system has no such files, there is nothing to tell.
#[cfg(not(target_os = "linux"))]
pub(super) fn write(_text: &mut String) {}

#[cfg(target_os = "linux")]
pub(super) fn write(text: &mut String) {
    use prometheus_client::{encoding::prometheus_text, registry::Registry};

    let mut registry = Registry::with_prefix("process");
    // What the system does not tell is left out.
    if linux::register(&mut registry).is_ok() {
        // Writing into a string cannot fail.
        let _ = prometheus_text::encode(text, &registry);
    }
}

#[cfg(target_os = "linux")]
mod linux {
    use procfs::{ProcResult, WithCurrentSystemInfo as _, process::Process};
    use prometheus_client::{
        metrics::{counter::ConstCounter, gauge::ConstGauge},
        registry::Registry,
    };

    pub(super) fn register(registry: &mut Registry) -> ProcResult<()> {
        let process = Process::myself()?;
        let stat = process.stat()?;
        let ticks = |count: u64| {
            #[expect(clippy::cast_precision_loss, reason = "the format has floats only")]
            let seconds = count as f64 / procfs::ticks_per_second() as f64;
            seconds
        };
        registry.register(
            "cpu_seconds",
            "Processor time, of the user and of the system, in seconds",
            ConstCounter::new(ticks(stat.utime + stat.stime)),
        );
        // A unit may hide /proc/stat (`ProcSubset=pid`): no reason to tell nothing at all.
        if let Ok(boot) = procfs::boot_time_secs() {
            #[expect(clippy::cast_precision_loss, reason = "the format has floats only")]
            let boot = boot as f64;
            registry.register(
                "start_time_seconds",
                "When the process started, in seconds since 1970",
                ConstGauge::new(boot + ticks(stat.starttime)),
            );
        }
        registry.register(
            "resident_memory_bytes",
            "Memory that is in use",
            ConstGauge::new(stat.rss_bytes().get()),
        );
        registry.register(
            "virtual_memory_bytes",
            "Memory that is reserved",
            ConstGauge::new(stat.vsize),
        );
        registry.register(
            "open_fds",
            "File descriptors that are open",
            ConstGauge::new(process.fd_count()?),
        );
        if let procfs::process::LimitValue::Value(most) =
            process.limits()?.max_open_files.soft_limit
        {
            registry.register(
                "max_fds",
                "The most file descriptors that may be open",
                ConstGauge::new(most),
            );
        }
        registry.register(
            "threads",
            "Threads of the process",
            ConstGauge::new(stat.num_threads),
        );
        Ok(())
    }
}
