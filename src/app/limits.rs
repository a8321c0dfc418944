//! What clients and owners may have, by the settings. In `DEV_MODE`: as much as they want.

use std::num::NonZeroU32;

use loco_rs::config::Server;
use url::Url;

use crate::{
    controllers::extract::BodyLimits,
    conversation::{Cost, Daily, Quotas},
    identity::{Forwarded, PlaceLimits, Places},
    middleware::{AllowedHosts, AllowedOrigins},
    settings::{Allowance, ForwardedBy, Settings},
};

/// What bounds runs.
pub(super) fn quotas(settings: &Settings) -> Quotas {
    if settings.dev_mode {
        return Quotas::default();
    }
    let allowance = &settings.allowance;
    Quotas {
        runs_per_address: NonZeroU32::new(settings.run_creations_per_minute),
        runs_per_owner: allowance.run_creations_per_owner.and_then(NonZeroU32::new),
        live_runs: allowance.live_runs_per_owner,
        daily: Daily {
            tokens: allowance.tokens_per_day,
            cost: allowance.cost_per_day.map(Cost::from_micros),
        },
    }
}

/// Whose pages may call the API.
pub(super) fn origins(settings: &Settings) -> AllowedOrigins {
    AllowedOrigins {
        list: settings.http.allowed_origins.clone(),
        same_site: settings.http.allow_same_site,
    }
}

/// What bounds bodies.
pub(super) fn bodies(settings: &Settings) -> BodyLimits {
    BodyLimits {
        bytes: settings.http.body_limit_bytes,
        idle: settings.http.body_idle,
        whole: settings.http.body_timeout,
    }
}

/// What bounds streams.
pub(super) fn places(settings: &Settings) -> Places {
    let Allowance {
        streams,
        streams_per_client,
        streams_per_owner,
        ..
    } = settings.allowance;
    let guarded = !settings.dev_mode;
    Places::new(PlaceLimits {
        all: streams,
        per_client: streams_per_client.filter(|_| guarded),
        per_owner: streams_per_owner.filter(|_| guarded),
    })
}

/// Our names: those that are listed, and that of the public address. Where none are listed, any is.
pub(super) fn hosts(settings: &Settings, server: &Server) -> AllowedHosts {
    let public = Url::parse(&server.host).ok();
    let public = public.and_then(|url| url.host_str().map(str::to_ascii_lowercase));
    let listed = &settings.http.allowed_hosts;
    AllowedHosts((!listed.is_empty()).then(|| listed.iter().cloned().chain(public).collect()))
}

/// Where proxies say who the client is.
pub(super) fn forwarded(settings: &Settings) -> Forwarded {
    match settings.http.forwarded_by {
        ForwardedBy::XForwardedFor => Forwarded::XForwardedFor,
        ForwardedBy::Forwarded => Forwarded::Standard,
    }
}
