//! The form of bcrypt's hashes, and what they cost.

use secrecy::ExposeSecret as _;

use super::{Auth, BasicUser};
use crate::settings::Secret;

impl Auth {
    /// What whoever keeps users of Basic auth should know of their hashes, by the users' positions.
    #[must_use]
    pub fn uneven_hashes(&self) -> Option<String> {
        let cost = |user: &BasicUser| cost(user.password_hash.expose_secret());
        let first = cost(self.users.first()?);
        let others = self.users.iter().enumerate();
        let others = others.filter(|(_, user)| cost(user) != first);
        let others: Vec<String> = others.map(|(place, _)| (place + 1).to_string()).collect();
        (self.takes_passwords() && !others.is_empty()).then(|| {
            format!(
                "users of Basic auth: the bcrypt hashes of some have another cost than the first one's (counted from 1, that of BASIC_AUTH_USER \
                 before those of the list: {}), so the time of an answer tells whether there is such a name: make all with one cost",
                others.join(", ")
            )
        })
    }
}

fn cost(hash: &str) -> Option<u32> {
    let (cost, _) = hash.get(4..)?.split_once('$')?;
    cost.parse().ok()
}

/// What is said of one that is none, where it came from.
pub(super) fn no_hash(hash: &Secret) -> String {
    let mend = if hash.is_from_file() {
        "the file must hold the bare hash, without quotes and without a name before it"
    } else {
        "in a shell or a YAML file put it in single quotes"
    };
    format!(
        "is no bcrypt hash ($2b$, two digits, $, 53 characters); {mend}, and make one with `parley-cli task hash_password` \
         (from the sources: `cargo loco task hash_password`)"
    )
}

/// `$2a$`, `$2b$` or `$2y$`, two digits of cost (4 to 31), `$`, 22 characters of salt and 31 of hash.
pub(super) fn is_bcrypt(hash: &str) -> bool {
    let body = ["$2a$", "$2b$", "$2y$"]
        .iter()
        .find_map(|prefix| hash.strip_prefix(prefix));
    let Some((cost, rest)) = body.and_then(|body| body.split_once('$')) else {
        return false;
    };
    let costs = cost.len() == 2
        && cost
            .parse::<u32>()
            .is_ok_and(|cost| (4..=31).contains(&cost));
    costs
        && rest.len() == 53
        && rest
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b == b'.' || b == b'/')
}
