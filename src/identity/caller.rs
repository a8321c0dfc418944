//! Who is asking, and what it may do.

use std::fmt;

use crate::conversation::{RunId, Whose};

/// What somebody may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Scope {
    /// Look at its own runs.
    Read,
    /// Start, change, stop and delete its own runs.
    Write,
    /// Both, with everybody's runs.
    Admin,
}

impl Scope {
    /// All that there are.
    pub const ALL: [Self; 3] = [Self::Read, Self::Write, Self::Admin];

    /// Its name in tokens and settings.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Read => "runs:read",
            Self::Write => "runs:write",
            Self::Admin => "runs:admin",
        }
    }
}

/// The scopes of somebody.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Scopes {
    read: bool,
    write: bool,
    admin: bool,
}

impl Scopes {
    /// Every scope.
    pub const ALL: Self = Self {
        read: true,
        write: true,
        admin: true,
    };

    /// Those that a list names; other names are somebody else's business.
    #[must_use]
    pub fn named<'a>(names: impl IntoIterator<Item = &'a str>) -> Self {
        names.into_iter().fold(Self::default(), |mut all, name| {
            all.read |= name == Scope::Read.as_str();
            all.write |= name == Scope::Write.as_str();
            all.admin |= name == Scope::Admin.as_str();
            all
        })
    }

    /// These and those.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self {
            read: self.read || other.read,
            write: self.write || other.write,
            admin: self.admin || other.admin,
        }
    }

    /// Whether that may be done with them.
    #[must_use]
    pub const fn allow(self, scope: Scope) -> bool {
        match scope {
            Scope::Read => self.read || self.admin,
            Scope::Write => self.write || self.admin,
            Scope::Admin => self.admin,
        }
    }
}

impl fmt::Display for Scopes {
    /// As OAuth writes them: with spaces between.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let held = [self.read, self.write, self.admin];
        let names = Scope::ALL.into_iter().zip(held).filter(|(_, held)| *held);
        let names: Vec<&str> = names.map(|(scope, _)| scope.as_str()).collect();
        f.write_str(&names.join(" "))
    }
}

/// Who is asking.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// To whom belongs what it makes: a user's name, or an issuer and a subject as [`Caller::subject_of`] writes them; empty for
    /// nobody, where no login is asked for.
    pub owner: String,
    /// What it may do.
    pub scopes: Scopes,
    /// The only run that it sees, where it has come by a ticket.
    pub only: Option<RunId>,
}

impl Caller {
    /// Whoever asks where no login is asked for: nobody, who may do all.
    #[must_use]
    pub const fn nobody() -> Self {
        Self {
            owner: String::new(),
            scopes: Scopes::ALL,
            only: None,
        }
    }

    /// Whoever has a ticket for that run.
    #[must_use]
    pub fn watching(run: RunId) -> Self {
        Self {
            owner: String::new(),
            scopes: Scopes {
                read: true,
                ..Scopes::default()
            },
            only: Some(run),
        }
    }

    /// The owner that a subject of an issuer is. No user of Basic auth can have such a name: theirs have no colon (RFC 7617), an
    /// issuer's URL has one; and no two pairs of issuer and subject have the same: an issuer's URL has no `#` (`OpenID` Connect
    /// Discovery 1.0, section 2).
    #[must_use]
    pub fn subject_of(issuer: &str, subject: &str) -> String {
        format!("{issuer}#{subject}")
    }

    /// Whose runs it sees.
    #[must_use]
    pub fn whose(&self) -> Whose {
        match self.only {
            Some(run) => Whose::Run(run),
            None if self.scopes.allow(Scope::Admin) => Whose::Everybodys,
            None => Whose::Of(self.owner.clone()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scopes_are_read_by_their_names_and_admin_is_both() {
        let scopes = |list: &str| Scopes::named(list.split(' '));
        assert_eq!(scopes("openid runs:write x").to_string(), "runs:write");
        assert!(!scopes("openid runs:write").allow(Scope::Read));
        assert!(!scopes("runs:readx Runs:read").allow(Scope::Read));
        let admin = scopes("runs:admin");
        assert!(Scope::ALL.into_iter().all(|scope| admin.allow(scope)));
        assert_eq!(Scopes::ALL.to_string(), "runs:read runs:write runs:admin");
    }

    #[test]
    fn only_admins_see_what_is_not_theirs() {
        let caller = |scopes| Caller {
            owner: "ada".to_owned(),
            scopes,
            only: None,
        };
        let plain = caller(Scopes::named(["runs:read", "runs:write"]));
        assert_eq!(plain.whose(), Whose::Of("ada".to_owned()));
        assert_eq!(caller(Scopes::ALL).whose(), Whose::Everybodys);
        let run = RunId::from_uuid(uuid::Uuid::from_u128(7));
        assert_eq!(Caller::watching(run).whose(), Whose::Run(run));
    }
}
