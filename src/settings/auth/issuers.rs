//! The issuers of the file and of the environment.

use std::{collections::BTreeSet, time::Duration};

use url::Url;

use super::{Client, ClientSecret, Issuer, SCOPES, is_loopback};
use crate::settings::{file, providers::is_variable, read::Reader};

const ISSUER: &str = "must be an https address without a query and without a user or a password (http for loopback alone)";

impl Reader<'_> {
    /// Those of the file; or, if the environment names one, that one alone, with what the file has of it.
    pub(super) fn issuers(&mut self, file: &[file::Issuer]) -> Vec<Issuer> {
        let (named, audience) = (self.env.get("OIDC_ISSUER"), self.env.get("OIDC_AUDIENCE"));
        let Some(named) = named else {
            if audience.is_some() {
                self.mistakes
                    .add("OIDC_ISSUER", "is missing, while OIDC_AUDIENCE is set");
            }
            let issuers = file.iter().enumerate();
            let issuers: Vec<Issuer> = issuers
                .map(|(place, file)| {
                    let place = |key: &str| format!("settings.auth.oidc[{place}].{key}");
                    self.issuer(&place, file)
                })
                .collect();
            let mut names = BTreeSet::new();
            for (place, one) in issuers.iter().enumerate() {
                if !names.insert(&one.issuer) {
                    let place = format!("settings.auth.oidc[{place}].issuer");
                    let reason = "is there before: issuers must be different from each other";
                    self.mistakes.add(place, reason);
                }
            }
            let asked = issuers.iter().enumerate();
            let asked = asked.filter(|(_, one)| one.introspection.is_some());
            for (place, _) in asked.skip(1) {
                let reason = "may be set for one issuer alone: of a token that says nothing by itself nobody knows whose it is, so each would be \
                              shown the others', and could use them";
                let place = format!("settings.auth.oidc[{place}].introspection");
                self.mistakes.add(place, reason);
            }
            return issuers;
        };
        let listed = file.iter().find(|listed| listed.issuer == named);
        let mut one = listed.cloned().unwrap_or_default();
        named.clone_into(&mut one.issuer);
        if let Some(audience) = audience {
            let names = audience.split(',').map(str::trim);
            one.audience = names.map(str::to_owned).collect();
        }
        if let Some(id) = self.env.get("OIDC_CLIENT_ID") {
            one.login.client_id = Some(id.to_owned());
        }
        let place = |key: &str| match key {
            "issuer" | "audience" => format!("OIDC_{}", key.to_ascii_uppercase()),
            _ => format!("settings.auth.oidc[0].{key}"),
        };
        vec![self.issuer(&place, &one)]
    }

    fn issuer(&mut self, place: &impl Fn(&str) -> String, file: &file::Issuer) -> Issuer {
        if !is_issuer(&file.issuer) {
            self.mistakes.add(place("issuer"), ISSUER);
        }
        if file.audience.is_empty() || file.audience.iter().any(String::is_empty) {
            let reason = "is missing: without it, tokens for other servers would be taken, too";
            self.mistakes.add(place("audience"), reason);
        }
        Issuer {
            issuer: file.issuer.clone(),
            audience: file.audience.clone(),
            accept_plain_jwt: file.accept_plain_jwt,
            leeway: Duration::from_secs(file.leeway_seconds.0),
            client: self.client(place, &file.login),
            introspection: self.introspection(place, &file.introspection),
        }
    }

    fn introspection(
        &mut self,
        place: &impl Fn(&str) -> String,
        file: &file::Introspection,
    ) -> Option<ClientSecret> {
        let (id, variable) = (&file.client_id, &file.client_secret_env);
        let place = |key: &str| place(&format!("introspection.{key}"));
        let client = self.client_secret(&place, id.as_ref(), variable.as_ref())?;
        if variable.is_none() {
            let reason = "is missing: issuers say what a token is only to whom they know";
            self.mistakes.add(place("client_secret_env"), reason);
        }
        Some(client)
    }

    fn client_secret(
        &mut self,
        place: &impl Fn(&str) -> String,
        id: Option<&String>,
        variable: Option<&String>,
    ) -> Option<ClientSecret> {
        let Some(id) = id.filter(|id| !id.is_empty()).cloned() else {
            if variable.is_some() {
                let reason = "is missing, while client_secret_env is set";
                self.mistakes.add(place("client_id"), reason);
            }
            return None;
        };
        let secret = match variable.filter(|variable| is_variable(variable)) {
            Some(variable) => self.secret(variable).ok()?,
            None => None,
        };
        if variable.is_some() && secret.is_none() {
            // The value is not repeated: it may be the secret itself, put here by mistake.
            let reason = "must be the name of an environment variable in capitals that is set";
            self.mistakes.add(place("client_secret_env"), reason);
        }
        let secret = secret.map(|secret| secret.value);
        Some(ClientSecret { id, secret })
    }

    fn client(&mut self, place: &impl Fn(&str) -> String, file: &file::Login) -> Option<Client> {
        let (id, variable) = (&file.client_id, &file.client_secret_env);
        let place = |key: &str| place(&format!("login.{key}"));
        let secret = self.client_secret(&place, id.as_ref(), variable.as_ref())?;
        if file
            .grants
            .iter()
            .any(|scope| !SCOPES.contains(&scope.as_str()))
        {
            let reason = format!("must be of {}", SCOPES.join(", "));
            self.mistakes.add(place("grants"), reason);
        }
        let usual = || ["runs:read", "runs:write"].map(str::to_owned).to_vec();
        let mut scopes = file.scopes.clone().unwrap_or_else(usual);
        if scopes.iter().any(|scope| !is_scope(scope)) {
            let reason = "must be names without blanks, quotes and backslashes";
            self.mistakes.add(place("scopes"), reason);
        }
        if !scopes.iter().any(|scope| scope == "openid") {
            scopes.insert(0, "openid".to_owned());
        }
        Some(Client {
            secret,
            scopes,
            grants: file.grants.clone(),
            backchannel_logout: file.backchannel_logout,
        })
    }
}

/// RFC 6749, section 3.3.
fn is_scope(text: &str) -> bool {
    let may = |c: char| c.is_ascii_graphic() && c != '"' && c != '\\';
    !text.is_empty() && text.chars().all(may)
}

/// `OpenID` Connect Discovery 1.0, section 2: an https URL without query and fragment.
fn is_issuer(text: &str) -> bool {
    let Ok(url) = Url::parse(text) else {
        return false;
    };
    let safe = url.scheme() == "https" || (url.scheme() == "http" && is_loopback(&url));
    let bare = url.username().is_empty() && url.password().is_none();
    safe && bare && !text.contains(['?', '#'])
}
