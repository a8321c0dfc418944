//! What a client is told that has no token yet (RFC 9728).

use serde::Serialize;
use utoipa::ToSchema;

/// This API as a protected resource: whose tokens it takes, and how.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct ProtectedResource {
    /// Its address.
    pub resource: String,
    /// Who issues tokens for it.
    pub authorization_servers: Vec<String>,
    /// What to ask them for. `runs:admin` is not listed: clients that ask for all that there is should not have it by that.
    pub scopes_supported: [&'static str; 2],
    /// How a token is sent.
    pub bearer_methods_supported: [&'static str; 1],
}

impl Default for ProtectedResource {
    fn default() -> Self {
        Self {
            resource: String::new(),
            authorization_servers: Vec::new(),
            scopes_supported: ["runs:read", "runs:write"],
            bearer_methods_supported: ["header"],
        }
    }
}
