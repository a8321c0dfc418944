//! What every answer tells a browser to be careful about, unless the handler knows better.
//!
//! No `Strict-Transport-Security`: this process speaks plain HTTP, where the header has no place (RFC 6797, section 7.2). The proxy
//! that holds the certificate says it.

use loco_rs::controller::middleware::secure_headers::SecureHeader;

/// Name and value; the answers are data, so nothing in them may be run, framed, sniffed or kept. Whoever has opened one and asks from its
/// console may ask this server.
const HEADERS: [(&str, &str); 7] = [
    ("cache-control", "no-store"),
    (
        "content-security-policy",
        "default-src 'none'; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    ),
    ("cross-origin-opener-policy", "same-origin"),
    ("cross-origin-resource-policy", "same-origin"),
    ("referrer-policy", "no-referrer"),
    ("x-content-type-options", "nosniff"),
    ("x-frame-options", "DENY"),
];

/// Loco's layer with our headers.
pub(super) fn layer() -> SecureHeader {
    let headers = HEADERS.map(|(name, value)| (name.to_owned(), value.to_owned()));
    SecureHeader {
        enable: true,
        preset: "empty".to_owned(),
        overrides: Some(headers.into()),
    }
}
