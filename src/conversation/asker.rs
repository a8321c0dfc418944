//! Who asks for something to be done.

use std::net::IpAddr;

/// Who asks, and where from: what quotas count by, and what an act is written down with. It holds no credentials.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Asker {
    /// To whom belongs what it makes; empty for nobody.
    pub owner: String,
    /// By what it has logged in; `None` where no login is asked for.
    pub login: Option<&'static str>,
    /// Where it asks from, as limits count: neighbours may have the same. Empty where that is of no account.
    pub client: String,
    /// Where it asks from; `None`: from this very process.
    pub address: Option<IpAddr>,
    /// The request by which it asks; empty where there is none.
    pub request_id: String,
}
