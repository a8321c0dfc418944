//! The file and the environment into settings, noting every mistake on the way.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use serde_json::Value;

use super::{
    Allowance, ApiKind, Breaker, Database, Environment, Http, Mistake, Mistakes, Retry, Secret,
    ServerOverrides, Settings, Stream, Timeouts, file, secrets::PLAIN,
};

/// Reads the block, collecting every unknown key and every value of a wrong type: a value that cannot be read is noted, taken
/// out, and the rest read again.
pub(super) fn read(yaml: Option<&Value>, mistakes: &mut Mistakes) -> file::File {
    let mut value = match yaml {
        None | Some(Value::Null) => return file::File::default(),
        Some(value) => value.clone(),
    };
    loop {
        let mut unknown = Vec::new();
        let mut ignored = |path: serde_ignored::Path<'_>| unknown.push(path.to_string());
        let mut track = serde_path_to_error::Track::new();
        let deserializer = serde_path_to_error::Deserializer::new(&value, &mut track);
        match serde_ignored::deserialize(deserializer, &mut ignored) {
            Ok(file) => {
                let note = |path: String| Mistake {
                    path: format!("settings.{path}"),
                    reason: "is no setting".to_owned(),
                };
                mistakes.0.extend(unknown.into_iter().map(note));
                return file;
            }
            Err(error) => {
                let path = track.path();
                let keys: Vec<String> = path.iter().map(ToString::to_string).collect();
                let mut reason = error.to_string();
                // serde repeats the value that it did not expect, and here that is a secret.
                let path_text = path.to_string();
                if path_text.starts_with("auth.basic.") && path_text != "auth.basic.hash_threads" {
                    "is not of the right kind: text in quotes is expected".clone_into(&mut reason);
                }
                mistakes.add(format!("settings.{path}"), reason);
                if !remove(&mut value, &keys) {
                    return file::File::default();
                }
            }
        }
    }
}

/// Takes the value at that path out, or the closest one around it. False if there is none.
fn remove(value: &mut Value, keys: &[String]) -> bool {
    let Some((first, rest)) = keys.split_first() else {
        return false;
    };
    let Value::Object(members) = value else {
        return false;
    };
    if let Some(inner) = members.get_mut(first) {
        return remove(inner, rest) || members.remove(first).is_some();
    }
    false
}

pub(super) struct Reader<'a> {
    pub(super) env: &'a Environment,
    pub(super) kinds: &'a [ApiKind],
    pub(super) mistakes: Mistakes,
    /// The variables by which secrets were found in files.
    pub(super) secret_files: Vec<String>,
    /// Those that name files for what is taken from none.
    pub(super) vain_files: Vec<String>,
}

/// Something is wrong, and has been told.
pub(super) struct Told;

impl Reader<'_> {
    pub(super) fn settings(&mut self, file: &file::File, development: bool) -> Settings {
        let file::File {
            http,
            stream,
            timeouts,
            retry,
            limits,
            orchestrator,
            breaker,
            rate_limit,
            ..
        } = file;
        let dev_mode = self.flag("DEV_MODE", file.dev_mode);
        let mut settings = Settings {
            dev_mode,
            auth: self.auth(&file.auth, dev_mode),
            run_max_turns: self.run_max_turns(file.run_max_turns.0),
            run_creations_per_minute: narrow(rate_limit.run_creations_per_minute.0),
            failed_logins_per_minute: narrow(rate_limit.failed_logins_per_minute.0),
            allowance: allowance(limits),
            http: Http {
                trusted_proxies: http.trusted_proxies.clone(),
                forwarded_by: http.forwarded_by,
                allowed_hosts: self.hosts(&http.allowed_hosts),
                allowed_origins: self.origins(&http.allowed_origins),
                allow_same_site: http.allow_same_site,
                body_limit_bytes: size(http.body_limit_bytes.0),
                header_timeout: millis(http.header_timeout_ms.0),
                body_idle: millis(http.body_idle_ms.0),
                body_timeout: millis(http.body_timeout_ms.0),
                keep_alive: millis(http.keep_alive_ms.0),
                write_timeout: millis(http.write_timeout_ms.0),
                shutdown_grace: millis(http.shutdown_grace_ms.0),
            },
            stream: Stream {
                heartbeat: millis(stream.heartbeat_ms.0),
                retry: millis(stream.retry_ms.0),
            },
            public_metrics: file.metrics.public,
            metrics_binding: self.metrics_binding(&file.metrics),
            tracing: self.tracing(&file.tracing),
            providers: self.providers(&file.providers, development),
            models_file: file.models_file.as_ref().map(PathBuf::from),
            simulator_pace: self.pace(file.simulator.pace),
            timeouts: Timeouts {
                connect: millis(timeouts.connect_ms.0),
                first_delta: millis(timeouts.first_delta_ms.0),
                idle: millis(timeouts.idle_ms.0),
                usage: millis(timeouts.usage_ms.0),
            },
            retry: Retry {
                max_attempts: narrow(retry.max_attempts.0),
                base: millis(retry.base_ms.0),
                cap: millis(retry.cap_ms.0),
                retry_after_cap: millis(retry.retry_after_cap_ms.0),
            },
            breaker: Breaker {
                failures: size(breaker.failures.0),
                window: millis(breaker.window_ms.0),
                open: millis(breaker.open_ms.0),
            },
            max_live_runs: size(orchestrator.max_live_runs.0),
            stop_patience: millis(orchestrator.stop_patience_ms.0),
            node_lifetime: millis(orchestrator.node_lifetime_ms.0),
            drain: Duration::from_secs(orchestrator.drain_seconds.0),
            max_takeovers: narrow(orchestrator.max_takeovers.0),
            database: self.database(&file.database),
            ended_runs: file.retention.ended_runs.0,
            audit_retention: days(file.audit.retention_days.0),
            turn_text_bytes: size(limits.turn_text_bytes.0),
            provider_event_bytes: size(limits.provider_event_bytes.0),
            connections: most(limits.connections),
            connections_per_client: most(limits.connections_per_client).filter(|_| !dev_mode),
            server: self.server(),
            secret_files: Vec::new(),
            vain_files: Vec::new(),
        };
        settings.vain_files = self.vain_files();
        settings.secret_files = std::mem::take(&mut self.secret_files);
        settings
    }

    /// All that name files in vain, those of providers' addresses at the end.
    fn vain_files(&mut self) -> Vec<String> {
        let plain = PLAIN.iter().filter_map(|name| self.env.file_in_vain(name));
        plain.chain(self.vain_files.drain(..)).collect()
    }

    /// The secret of that name, from the environment or from a file, if it is set.
    pub(super) fn secret(&mut self, name: &str) -> Result<Option<Secret>, Told> {
        match self.env.secret(name) {
            Ok(secret) => {
                let from_file = secret.as_ref().filter(|secret| secret.is_from_file());
                self.secret_files
                    .extend(from_file.map(|secret| secret.variable.clone()));
                Ok(secret)
            }
            Err(mistake) => {
                // Several may have the same one.
                if !self.mistakes.0.contains(&mistake) {
                    self.mistakes.0.push(mistake);
                }
                Err(Told)
            }
        }
    }

    fn flag(&mut self, name: &str, otherwise: bool) -> bool {
        match self.env.get(name).map(str::to_ascii_lowercase).as_deref() {
            None => otherwise,
            Some("true" | "1" | "yes" | "on") => true,
            Some("false" | "0" | "no" | "off") => false,
            Some(_) => {
                self.mistakes.add(name, "must be true or false");
                otherwise
            }
        }
    }

    fn run_max_turns(&mut self, file: u64) -> u32 {
        let given = self.env.get("RUN_MAX_TURNS").map(str::parse::<u32>);
        match given {
            None => narrow(file),
            Some(Ok(turns)) if turns >= 1 => turns,
            Some(_) => {
                self.mistakes
                    .add("RUN_MAX_TURNS", "must be a whole number of at least 1");
                1
            }
        }
    }

    fn origins(&mut self, origins: &[String]) -> Vec<String> {
        for (place, origin) in origins.iter().enumerate() {
            let fine = url::Url::parse(origin)
                .is_ok_and(|url| url.origin().ascii_serialization() == *origin);
            if !fine {
                let reason = "must be an origin such as https://example.org (scheme, host, port, no slash at the end)";
                let place = format!("settings.http.allowed_origins[{place}]");
                self.mistakes.add(place, reason);
            }
        }
        origins.to_vec()
    }

    fn hosts(&mut self, hosts: &[String]) -> Vec<String> {
        let names: Vec<String> = hosts.iter().map(|host| host.to_ascii_lowercase()).collect();
        let is_name = |name: &String| {
            url::Host::parse(name).is_ok_and(|host| host.to_string() == *name)
                && !name.ends_with('.')
                && !name.contains('*')
        };
        for (place, _) in names.iter().enumerate().filter(|(_, name)| !is_name(name)) {
            let reason = "must be a name such as parley.example (no scheme, no port, no slash)";
            let place = format!("settings.http.allowed_hosts[{place}]");
            self.mistakes.add(place, reason);
        }
        names
    }

    fn metrics_binding(&mut self, file: &file::Metrics) -> Option<SocketAddr> {
        let binding = file.binding.as_ref()?.parse::<SocketAddr>().ok();
        let binding = binding.filter(|address| address.port() != 0);
        if binding.is_none() {
            self.mistakes.add(
                "settings.metrics.binding",
                "must be an address and a port, such as 127.0.0.1:9150",
            );
        }
        binding
    }

    fn database(&mut self, file: &file::Database) -> Database {
        let allowed = ["on", "off", "local", "remote_write", "remote_apply"];
        let synchronous_commit = file
            .synchronous_commit
            .clone()
            .unwrap_or_else(|| "on".to_owned());
        if !allowed.contains(&synchronous_commit.as_str()) {
            self.mistakes.add(
                "settings.database.synchronous_commit",
                format!("must be one of {} (in quotes)", allowed.join(", ")),
            );
        }
        Database {
            statement_timeout: millis(file.statement_timeout_ms.0),
            lock_timeout: millis(file.lock_timeout_ms.0),
            idle_in_transaction_timeout: millis(file.idle_in_transaction_timeout_ms.0),
            synchronous_commit,
        }
    }

    fn pace(&mut self, pace: f64) -> f64 {
        if !(pace.is_finite() && pace > 0.0) {
            self.mistakes
                .add("settings.simulator.pace", "must be a number above 0");
        }
        pace
    }

    fn server(&mut self) -> ServerOverrides {
        let port = self.env.get("PORT").map(str::parse::<u16>);
        if matches!(port, Some(Err(_))) {
            self.mistakes.add("PORT", super::PORT);
        }
        let log_level = self.env.get("LOG_LEVEL").map(str::to_ascii_lowercase);
        if log_level.as_deref().is_some_and(|level| {
            !["off", "trace", "debug", "info", "warn", "error"].contains(&level)
        }) {
            self.mistakes.add(
                "LOG_LEVEL",
                "must be one of off, trace, debug, info, warn, error",
            );
        }
        let [database_url, redis_url] =
            ["DATABASE_URL", "REDIS_URL"].map(|name| self.secret(name).ok().flatten());
        let text = |name| self.env.get(name).map(str::to_owned);
        ServerOverrides {
            port: port.and_then(Result::ok),
            binding: text("BINDING"),
            host: text("HOST"),
            database_url,
            redis_url,
            log_level,
        }
    }
}

fn allowance(limits: &file::Limits) -> Allowance {
    let file::PerOwner {
        run_creations_per_minute,
        live_runs,
        streams,
        tokens_per_day,
        cost_usd_per_day,
    } = &limits.per_owner;
    Allowance {
        streams: limits.streams.map(|limit| size(limit.0)),
        streams_per_client: limits.streams_per_client.map(|limit| size(limit.0)),
        streams_per_owner: streams.map(|limit| size(limit.0)),
        run_creations_per_owner: run_creations_per_minute.map(|limit| narrow(limit.0)),
        live_runs_per_owner: live_runs.map(|limit| narrow(limit.0)),
        tokens_per_day: tokens_per_day.map(|limit| limit.0),
        cost_per_day: cost_usd_per_day.map(|dollars| dollars.micros),
    }
}

fn millis(number: u64) -> Duration {
    Duration::from_millis(number)
}

fn days(number: u64) -> Duration {
    Duration::from_hours(number.saturating_mul(24))
}

fn narrow(number: u64) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

fn most(limit: Option<file::Limit<1>>) -> Option<usize> {
    limit.map(|limit| size(limit.0))
}

pub(super) fn size(number: u64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}
