//! What clients and owners may have, by the settings. In `DEV_MODE`: as much as they want.

use std::num::NonZeroU32;

use loco_rs::config::Server;
use tokio_util::sync::CancellationToken;
use url::Url;

use crate::{
    controllers::extract::BodyLimits,
    conversation::{Cost, Daily, Quotas},
    identity::{Forwarded, PlaceLimits, Places, SharedPlaces},
    middleware::{AllowedHosts, AllowedOrigins},
    models::Store,
    settings::{Allowance, ForwardedBy, Settings, is_loopback},
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

/// What bounds streams: at this process, and, where there is a limit that goes for all of them, those of an owner at all processes. `node` is
/// this one; `ended`: it tells the others no more.
pub(super) fn places(
    settings: &Settings,
    store: &Store,
    node: &str,
    ended: &CancellationToken,
) -> (Places, Option<SharedPlaces>) {
    let Allowance {
        streams,
        streams_per_client,
        streams_per_owner,
        ..
    } = settings.allowance;
    let guarded = !settings.dev_mode;
    let per_owner = streams_per_owner.filter(|_| guarded);
    let places = Places::new(PlaceLimits {
        all: streams,
        per_client: streams_per_client.filter(|_| guarded),
        per_owner,
    });
    let shared = per_owner.filter(|_| store.is_shared()).map(|most| {
        let (store, node, places) = (store.clone(), node.to_owned(), places.clone());
        SharedPlaces::new(store, node, most, places, ended.clone())
    });
    (places, shared)
}

/// Our names: those that are listed, and that of the public address. Any is where nobody has said one; but not in `DEV_MODE`, where whoever
/// can make a browser ask us would need no login.
pub(super) fn hosts(settings: &Settings, server: &Server) -> AllowedHosts {
    let public = Url::parse(&server.host).ok();
    // That of one's own machine is what stands there if nobody has set another.
    let public = public.filter(|url| !is_loopback(url));
    let public = public.and_then(|url| url.host_str().map(str::to_ascii_lowercase));
    let listed = &settings.http.allowed_hosts;
    let known = settings.dev_mode || public.is_some() || !listed.is_empty();
    AllowedHosts(known.then(|| listed.iter().cloned().chain(public).collect()))
}

/// What an operator should know who has said no name of ours in production. Whoever has set `HOST` to the own machine has said one.
pub(super) fn any_host(
    settings: &Settings,
    server: &Server,
    production: bool,
) -> Option<&'static str> {
    let said = settings.server.host.is_some() || !production;
    let any = !said && hosts(settings, server).0.is_none();
    any.then_some(
        "neither HOST nor settings.http.allowed_hosts says by which name clients ask for this server, so any name goes, also one that \
         somebody else has made point here (DNS rebinding): set HOST to the public address",
    )
}

/// Where proxies say who the client is.
pub(super) fn forwarded(settings: &Settings) -> Forwarded {
    match settings.http.forwarded_by {
        ForwardedBy::XForwardedFor => Forwarded::XForwardedFor,
        ForwardedBy::Forwarded => Forwarded::Standard,
    }
}
