//! Logging out at the issuer, and by it (RP-Initiated Logout 1.0; Back-Channel Logout 1.0).

use std::time::Duration;

use serde_json::Value;
use url::Url;

use super::{Oidc, TokenError, claims::seconds, now, token::Unverified};
use crate::models::SessionsOf;

/// What a logout token is for (Back-Channel Logout 1.0, section 2.4).
const LOGOUT: &str = "http://schemas.openid.net/event/backchannel-logout";

/// An older logout token is not taken: issuers send it when somebody logs out.
const LOGOUT_AGE: Duration = Duration::from_secs(5 * 60);

/// So long it is known which were carried out: as long as one is taken, whenever it ends, with the largest leeway on both sides.
pub(super) const REMEMBERED: Duration = Duration::from_secs(15 * 60);

/// Whose sessions an issuer ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Logout {
    /// The issuer, and its name for this logout.
    named: (String, String),
    /// Which of its sessions.
    pub of: SessionsOf,
}

impl Logout {
    /// Whose they are.
    #[must_use]
    pub fn issuer(&self) -> &str {
        &self.named.0
    }
}

impl Oidc {
    /// Where the browser goes to log out at the issuer, too, if there is such a place.
    pub async fn logout_address(&self, issuer: &str) -> Option<Url> {
        let (_, issuer, client) = self.client(Some(issuer))?;
        let mut address = issuer.endpoints().await.ok()?.end_session.clone()?;
        address
            .query_pairs_mut()
            .append_pair("client_id", &client.client.id);
        Some(address)
    }

    /// Whom a logout token ends the sessions of (Back-Channel Logout 1.0, section 2.6).
    ///
    /// # Errors
    /// When it is none that is taken.
    pub async fn logged_out(&self, token: &str) -> Result<Logout, TokenError> {
        let unverified = Unverified::read(token)?;
        let found = self.client(Some(unverified.issuer().unwrap_or_default()));
        let (config, issuer, client) = found.ok_or(TokenError::Issuer)?;
        if !client.backchannel_logout {
            return Err(TokenError::Issuer);
        }
        let kind = unverified.header.kind.as_deref();
        let is = |name: &str| kind.is_some_and(|kind| kind.eq_ignore_ascii_case(name));
        // Its type is only recommended; what it is for its events say.
        if !(kind.is_none() || is("logout+jwt") || is("application/logout+jwt") || is("JWT")) {
            return Err(TokenError::Kind);
        }
        let claims = &unverified.claims;
        let events = claims.get("events").and_then(Value::as_object);
        if !events.is_some_and(|events| events.get(LOGOUT).is_some_and(Value::is_object)) {
            return Err(TokenError::Claim("events"));
        }
        if claims.get("nonce").is_some() {
            return Err(TokenError::Claim("nonce"));
        }
        check_age(claims.get("iat"), now(), config.leeway)?;
        let text = |name: &str| claims.get(name).and_then(Value::as_str).map(str::to_owned);
        let id = text("jti").filter(|id| !id.is_empty());
        let id = id.ok_or(TokenError::Claim("jti"))?;
        let audience = [client.client.id.clone()];
        config
            .signed(
                token,
                &unverified,
                issuer,
                &audience,
                &["iss", "aud", "exp"],
            )
            .await?;
        let named = (config.issuer.clone(), id);
        if self.carried_out.contains_key(&named) {
            return Err(TokenError::Claim("jti"));
        }
        let of = match (text("sid"), text("sub")) {
            (Some(session), subject) => SessionsOf::IssuerSession { session, subject },
            (None, Some(subject)) => SessionsOf::Subject(subject),
            (None, None) => return Err(TokenError::Claim("sub")),
        };
        Ok(Logout { named, of })
    }

    /// Takes note that a logout token was carried out. Not before: an issuer whose call has failed sends the same again.
    pub async fn carried_out(&self, logout: Logout) {
        self.carried_out.insert(logout.named, ()).await;
    }
}

/// Makes sure that a logout token was made a moment ago.
fn check_age(issued: Option<&Value>, now: u64, leeway: Duration) -> Result<(), TokenError> {
    let issued = issued.and_then(seconds).ok_or(TokenError::Claim("iat"))?;
    if issued > now.saturating_add(leeway.as_secs()) {
        return Err(TokenError::NotYetValid);
    }
    let most = LOGOUT_AGE + leeway;
    if issued.saturating_add(most.as_secs()) < now {
        return Err(TokenError::Expired);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_logout_was_made_a_moment_ago() {
        let leeway = Duration::from_secs(30);
        for (issued, outcome) in [
            (json!(10_000), None),
            (json!(10_030), None),
            (json!(10_031), Some(TokenError::NotYetValid)),
            (json!(10_000 - 330), None),
            (json!(10_000 - 331), Some(TokenError::Expired)),
            (json!("10000"), Some(TokenError::Claim("iat"))),
            (json!(null), Some(TokenError::Claim("iat"))),
        ] {
            let checked = check_age(Some(&issued), 10_000, leeway);
            assert_eq!(checked.err(), outcome, "{issued}");
        }
        assert_eq!(
            check_age(None, 10_000, leeway),
            Err(TokenError::Claim("iat"))
        );
    }
}
