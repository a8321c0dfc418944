//! The `Authorization` header: who is asking by it, and how often it may be wrong.

use std::{sync::Arc, time::Duration};

use super::{
    BasicCredential, Caller, ClientKey, Oidc, Tickets, TokenError,
    basic::{Credentials, Users},
    failures::Failures,
    ticket::now,
};

/// A way to log in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Login {
    /// A name and a password (RFC 7617).
    Basic,
    /// An access token (RFC 6750).
    Bearer,
    /// A ticket of ours.
    Ticket,
    /// A session of a browser.
    Session,
}

impl Login {
    /// Its name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Basic => "basic",
            Self::Bearer => "bearer",
            Self::Ticket => "ticket",
            Self::Session => "session",
        }
    }
}

/// Somebody who was let in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Admitted {
    /// Who it is.
    pub caller: Caller,
    /// By what.
    pub login: Login,
}

/// Why a request is not let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Denied {
    /// It has no credentials that can be read. No failure.
    NoCredentials,
    /// Its name or its password is wrong.
    Wrong,
    /// Its token is not taken.
    Token(TokenError),
    /// Its ticket is none of ours, or its time is over.
    Ticket,
    /// Too many are being looked at.
    Busy,
    /// Too many wrong ones came from there.
    TooMany {
        /// When to try again.
        retry_after: Duration,
    },
}

/// Checks credentials.
pub struct Authenticator {
    basic: Option<Users>,
    oidc: Option<Arc<Oidc>>,
    tickets: Arc<Tickets>,
    /// Of each kind by itself: who comes again and again with an old ticket can still log in. Those of passwords are with the users.
    wrong_tokens: Failures,
    wrong_tickets: Failures,
    /// Of those that an issuer was asked about.
    unknown_tokens: Failures,
}

/// How much wrong credentials may cost.
#[derive(Debug, Clone, Copy)]
pub struct LoginLimits {
    /// How often a client may be wrong in a minute, by each kind of credentials.
    pub failures_per_minute: u32,
    /// How many passwords are looked at at the same time, each by a thread of its own.
    pub hash_threads: usize,
}

impl Authenticator {
    /// Lets in these users, and who has a token of these issuers; `None` where there is no such login.
    #[must_use]
    pub fn new(
        users: Option<Vec<BasicCredential>>,
        oidc: Option<Arc<Oidc>>,
        tickets: Arc<Tickets>,
        limits: LoginLimits,
    ) -> Self {
        let LoginLimits {
            failures_per_minute,
            hash_threads,
        } = limits;
        Self {
            basic: users.map(|users| Users::new(users, hash_threads, failures_per_minute)),
            oidc,
            tickets,
            wrong_tokens: Failures::per_minute(failures_per_minute),
            wrong_tickets: Failures::per_minute(failures_per_minute),
            unknown_tokens: Failures::per_minute(failures_per_minute),
        }
    }

    /// Whether one may log in so.
    #[must_use]
    pub fn takes(&self, login: Login) -> bool {
        match login {
            Login::Basic => self.basic.is_some(),
            Login::Bearer => self.oidc.is_some(),
            Login::Ticket | Login::Session => true,
        }
    }

    /// Who is asking, by the `Authorization` header.
    ///
    /// # Errors
    /// Why the request is not let in.
    pub async fn check(
        &self,
        authorization: Option<&[u8]>,
        client: ClientKey,
    ) -> Result<Admitted, Denied> {
        let given = authorization.and_then(|header| std::str::from_utf8(header).ok());
        let (scheme, given) = given
            .and_then(|header| header.split_once(' '))
            .ok_or(Denied::NoCredentials)?;
        let given = given.trim();
        let is = |name: &str| scheme.eq_ignore_ascii_case(name);
        if let Some(users) = self.basic.as_ref().filter(|_| is("basic")) {
            let given = Credentials::read(given).ok_or(Denied::NoCredentials)?;
            let caller = users.check(&given, client).await?;
            let login = Login::Basic;
            return Ok(Admitted { caller, login });
        }
        if let Some(oidc) = self
            .oidc
            .as_ref()
            .filter(|_| is("bearer") && !given.is_empty())
        {
            // In a box, as all that asks an issuer: its memory would be every request's, whoever sends it.
            let caller = match Box::pin(oidc.check(given)).await {
                Err(TokenError::Malformed) if oidc.introspects(given) => {
                    Box::pin(self.introspect(oidc, given, client)).await?
                }
                checked => checked.map_err(|error| self.refused(error, client))?,
            };
            let login = Login::Bearer;
            return Ok(Admitted { caller, login });
        }
        Err(Denied::NoCredentials)
    }

    /// Who is asking, by what the issuer says of a token. That is dear: who was wrong too often has its issuer not asked.
    async fn introspect(
        &self,
        oidc: &Oidc,
        token: &str,
        client: ClientKey,
    ) -> Result<Caller, Denied> {
        let may_ask = || match self.unknown_tokens.wait(client) {
            Some(retry_after) => Err(Denied::TooMany { retry_after }),
            None => Ok(()),
        };
        may_ask()?;
        let refused = |error| {
            if !matches!(error, TokenError::Expired | TokenError::Unavailable { .. }) {
                self.unknown_tokens.count(client);
            }
            Denied::Token(error)
        };
        // Those before it may have failed when its turn has come.
        oidc.introspect(token, may_ask, refused).await
    }

    /// Who is asking, by a ticket.
    ///
    /// # Errors
    /// Why the request is not let in.
    pub fn check_ticket(&self, ticket: &str, client: ClientKey) -> Result<Admitted, Denied> {
        match self.tickets.read(ticket) {
            Some(ticket) if now() < ticket.expires => Ok(Admitted {
                caller: Caller::watching(ticket.run),
                login: Login::Ticket,
            }),
            // It was right once.
            Some(_) => Err(Denied::Ticket),
            None => Err(counted(&self.wrong_tickets, Denied::Ticket, client)),
        }
    }

    /// A look at a token costs little, so a failure is counted after it and not before: then a right token comes in, however many wrong
    /// ones came from its client. One that has expired was right once, as its signature shows: that is how clients learn that they need
    /// another, and no failure; nor is it one if the issuer is down.
    fn refused(&self, error: TokenError, client: ClientKey) -> Denied {
        if matches!(error, TokenError::Expired | TokenError::Unavailable { .. }) {
            return Denied::Token(error);
        }
        counted(&self.wrong_tokens, Denied::Token(error), client)
    }
}

fn counted(failures: &Failures, denied: Denied, client: ClientKey) -> Denied {
    match failures.wait(client) {
        Some(retry_after) => Denied::TooMany { retry_after },
        None => {
            failures.count(client);
            denied
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use base64::{Engine as _, prelude::BASE64_STANDARD};
    use secrecy::SecretString;

    use super::*;
    use crate::{
        conversation::{RunId, Timestamp},
        identity::Scopes,
    };

    fn authenticator(failures_per_minute: u32) -> Authenticator {
        let user = |name: &str, password: &str, scopes| BasicCredential {
            user: name.to_owned(),
            password_hash: SecretString::from(bcrypt::hash(password, 4).unwrap()),
            scopes,
        };
        let users = vec![
            user("ada", "secret: pässword", Scopes::ALL),
            user("eve", "another", Scopes::named(["runs:read"])),
        ];
        Authenticator::new(Some(users), None, tickets(), limits(failures_per_minute))
    }

    fn limits(failures_per_minute: u32) -> LoginLimits {
        LoginLimits {
            failures_per_minute,
            hash_threads: 2,
        }
    }

    fn tickets() -> Arc<Tickets> {
        Arc::new(Tickets::new(&[], Duration::from_hours(1)))
    }

    fn header(credentials: &str) -> Vec<u8> {
        format!("Basic {}", BASE64_STANDARD.encode(credentials)).into_bytes()
    }

    fn client(last: u8) -> ClientKey {
        IpAddr::from([192, 0, 2, last]).into()
    }

    #[tokio::test]
    async fn the_right_credentials_are_let_in_and_no_others() {
        let auth = authenticator(60);
        let right = auth
            .check(Some(&header("ada:secret: pässword")), client(1))
            .await;
        let owner =
            |admitted: Result<Admitted, Denied>| admitted.map(|admitted| admitted.caller.owner);
        assert_eq!(owner(right), Ok("ada".to_owned()));
        for wrong in [
            "eve:secret: pässword",
            "ada:another",
            "ada:secret",
            "bob:secret: pässword",
            "ada:",
            ":",
            "Ada:secret: pässword",
        ] {
            assert_eq!(
                auth.check(Some(&header(wrong)), client(1)).await,
                Err(Denied::Wrong),
                "{wrong}"
            );
        }
    }

    #[tokio::test]
    async fn each_user_has_a_password_and_scopes_of_its_own() {
        let auth = authenticator(60);
        for _ in 0..2 {
            for (credentials, scopes) in [
                ("ada:secret: pässword", "runs:read runs:write runs:admin"),
                ("eve:another", "runs:read"),
            ] {
                let admitted = auth.check(Some(&header(credentials)), client(1)).await;
                let admitted = admitted.unwrap();
                assert_eq!(admitted.caller.scopes.to_string(), scopes);
                assert_eq!(admitted.login, Login::Basic);
            }
        }
    }

    #[tokio::test]
    async fn what_cannot_be_read_is_no_failure() {
        let auth = authenticator(1);
        for unreadable in [
            None,
            Some(&b"Bearer x"[..]),
            Some(b"Basic"),
            Some(b"Basic %%%"),
            Some(b"Basic YWRh"),
            Some(b"\xff"),
        ] {
            assert_eq!(
                auth.check(unreadable, client(1)).await,
                Err(Denied::NoCredentials)
            );
        }
        assert!(
            auth.check(Some(&header("ada:secret: pässword")), client(1))
                .await
                .is_ok()
        );
    }

    #[tokio::test]
    async fn failures_shut_out_their_client_but_no_remembered_credential() {
        let auth = authenticator(3);
        let right = header("ada:secret: pässword");
        assert!(auth.check(Some(&right), client(1)).await.is_ok());
        for _ in 0..3 {
            assert_eq!(
                auth.check(Some(&header("ada:x")), client(1)).await,
                Err(Denied::Wrong)
            );
        }
        assert!(matches!(
            auth.check(Some(&header("ada:x")), client(1)).await,
            Err(Denied::TooMany { .. })
        ));
        assert!(auth.check(Some(&right), client(1)).await.is_ok());
        assert_eq!(
            auth.check(Some(&header("ada:x")), client(2)).await,
            Err(Denied::Wrong)
        );
    }

    #[tokio::test]
    async fn many_at_once_with_the_same_credentials_cost_one_bcrypt() {
        let auth = Arc::new(authenticator(1));
        let checks = (0..50).map(|_| {
            let auth = Arc::clone(&auth);
            async move {
                auth.check(Some(&header("ada:secret: pässword")), client(1))
                    .await
                    .is_ok()
            }
        });
        assert!(
            futures_util::future::join_all(checks)
                .await
                .into_iter()
                .all(|ok| ok)
        );
    }

    #[tokio::test]
    async fn without_a_user_nobody_gets_in() {
        for (users, denied) in [(Some(vec![]), Denied::Wrong), (None, Denied::NoCredentials)] {
            let auth = Authenticator::new(users, None, tickets(), limits(60));
            let checked = auth.check(Some(&header("ada:x")), client(1)).await;
            assert_eq!(checked, Err(denied));
        }
    }

    #[test]
    fn a_ticket_is_good_for_its_run_and_its_time() {
        let auth = authenticator(1);
        let run = RunId::from_uuid(uuid::Uuid::from_u128(7));
        let ticket = |millis_ago| {
            let from = Timestamp::from_millis(now().as_millis() - millis_ago);
            auth.tickets.issue(run, from).0
        };
        let admitted = auth.check_ticket(&ticket(3_500_000), client(1)).unwrap();
        assert_eq!(admitted.caller, Caller::watching(run));
        // That its time is over is no failure, however often; that it is none of ours is one.
        for _ in 0..3 {
            let over = auth.check_ticket(&ticket(3_600_000), client(1));
            assert_eq!(over, Err(Denied::Ticket));
        }
        let wrong = || auth.check_ticket("no ticket", client(1)).unwrap_err();
        assert_eq!(wrong(), Denied::Ticket);
        assert!(matches!(wrong(), Denied::TooMany { .. }));
        assert!(auth.check_ticket(&ticket(0), client(1)).is_ok());
    }

    #[tokio::test]
    async fn wrong_tickets_lock_no_password_out() {
        let auth = authenticator(1);
        for _ in 0..5 {
            assert!(auth.check_ticket("no ticket", client(1)).is_err());
        }
        let right = header("ada:secret: pässword");
        assert!(auth.check(Some(&right), client(1)).await.is_ok());
    }
}
