//! Where a request comes from.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use ipnet::IpNet;

/// The client's address: the socket's, or, behind trusted proxies, what they say. What was said is read from its end, where the closest
/// proxy wrote: the first address that is no trusted proxy is the client; what stands before it anybody may have made up.
#[must_use]
pub fn client_address(peer: IpAddr, said: Vec<Option<IpAddr>>, trusted: &[IpNet]) -> IpAddr {
    let is_trusted = |address: &IpAddr| trusted.iter().any(|net| net.contains(address));
    let mut client = peer.to_canonical();
    for address in said.into_iter().rev() {
        let Some(address) = address.filter(|_| is_trusted(&client)) else {
            break;
        };
        client = address.to_canonical();
    }
    client
}

/// The header in which proxies say who the client is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Forwarded {
    /// `X-Forwarded-For`: addresses with commas between.
    #[default]
    XForwardedFor,
    /// `Forwarded` (RFC 7239).
    Standard,
}

impl Forwarded {
    /// The header's name.
    #[must_use]
    pub const fn header(self) -> &'static str {
        match self {
            Self::XForwardedFor => "x-forwarded-for",
            Self::Standard => "forwarded",
        }
    }

    /// The addresses in its lines, in their order; `None` where a proxy does not say one, or nobody can read it.
    #[must_use]
    pub fn addresses<'a>(self, lines: impl Iterator<Item = &'a str>) -> Vec<Option<IpAddr>> {
        match self {
            Self::XForwardedFor => lines
                .flat_map(|line| line.split(','))
                .map(|entry| entry.trim().parse().ok().or_else(|| node(entry.trim())))
                .collect(),
            Self::Standard => lines
                // Who writes half a quoted text must not hide what a proxy has put behind it: then nothing of the line counts.
                .flat_map(|line| elements(line).unwrap_or_else(|| vec![None]))
                .collect(),
        }
    }
}

/// The clients that a line of `Forwarded` names, an element each; `None` if it breaks the grammar of RFC 7239, section 4.
fn elements(line: &str) -> Option<Vec<Option<IpAddr>>> {
    let (mut all, mut rest) = (Vec::new(), line);
    loop {
        let mut client = None;
        loop {
            rest = rest.trim_start_matches([' ', '\t']);
            if let Some(after) = token(rest) {
                let name = rest.get(..rest.len() - after.len())?;
                let (value, after) = value(after.strip_prefix('=')?)?;
                if name.eq_ignore_ascii_case("for") && client.replace(node(&value)).is_some() {
                    return None;
                }
                rest = after.trim_start_matches([' ', '\t']);
            }
            match rest.strip_prefix(';') {
                Some(after) => rest = after,
                None => break,
            }
        }
        all.push(client.flatten());
        match rest.strip_prefix(',') {
            Some(after) => rest = after,
            None if rest.is_empty() => return Some(all),
            None => return None,
        }
    }
}

/// What follows the token (RFC 9110, section 5.6.2) that the text begins with; `None` if there is none.
fn token(text: &str) -> Option<&str> {
    let is_of_one = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c);
    let after = text.trim_start_matches(is_of_one);
    (after.len() < text.len()).then_some(after)
}

/// The value that the text begins with, a token or a quoted string, and what follows it.
fn value(text: &str) -> Option<(String, &str)> {
    let Some(quoted) = text.strip_prefix('"') else {
        let after = token(text)?;
        return Some((text.get(..text.len() - after.len())?.to_owned(), after));
    };
    let (mut value, mut characters) = (String::new(), quoted.chars());
    loop {
        match characters.next()? {
            '"' => return Some((value, characters.as_str())),
            '\\' => value.push(characters.next()?),
            character => value.push(character),
        }
    }
}

/// The address of a node (RFC 7239, section 6), its port left out; `None` for `unknown` and for names that proxies make up.
fn node(text: &str) -> Option<IpAddr> {
    let is_port = |port: &str| !port.is_empty() && port.len() <= 5;
    if let Some(rest) = text.strip_prefix('[') {
        let (address, port) = rest.split_once(']')?;
        let port_is_fine = port.is_empty() || port.strip_prefix(':').is_some_and(is_port);
        let address = address.parse::<Ipv6Addr>().ok().map(IpAddr::V6);
        return address.filter(|_| port_is_fine);
    }
    let (address, port) = text.split_once(':').unwrap_or((text, "0"));
    let address = address.parse::<Ipv4Addr>().ok().map(IpAddr::V4);
    address.filter(|_| is_port(port))
}

/// A request's client, among what is known of the request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClientAddress(pub IpAddr);

/// What limits count by: an IPv4 address, or the /64 of an IPv6 one, which a single customer can walk through at will.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ClientKey(IpAddr);

impl From<IpAddr> for ClientKey {
    fn from(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V6(v6) => {
                let [a, b, c, d, ..] = v6.segments();
                Self(IpAddr::V6(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0)))
            }
            v4 @ IpAddr::V4(_) => Self(v4),
        }
    }
}

impl fmt::Display for ClientKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn client_by(forwarded: Forwarded, peer: &str, lines: &[&str]) -> String {
        let trusted = [
            "10.0.0.0/8".parse().unwrap(),
            "127.0.0.1/32".parse().unwrap(),
        ];
        let said = forwarded.addresses(lines.iter().copied());
        client_address(peer.parse().unwrap(), said, &trusted).to_string()
    }

    #[test]
    fn only_trusted_proxies_are_believed() {
        let client = |peer, lines: &[&str]| client_by(Forwarded::XForwardedFor, peer, lines);
        assert_eq!(client("203.0.113.9", &["1.2.3.4"]), "203.0.113.9");
        assert_eq!(client("10.0.0.1", &["1.2.3.4"]), "1.2.3.4");
        assert_eq!(
            client("10.0.0.1", &["6.6.6.6, 1.2.3.4, 10.0.0.2"]),
            "1.2.3.4"
        );
        assert_eq!(client("10.0.0.1", &["6.6.6.6", "1.2.3.4"]), "1.2.3.4");
        assert_eq!(client("::ffff:10.0.0.1", &["1.2.3.4"]), "1.2.3.4");
        assert_eq!(client("10.0.0.1", &["nonsense"]), "10.0.0.1");
        assert_eq!(client("10.0.0.1", &["\u{fffd}, 1.2.3.4"]), "1.2.3.4");
        // Some proxies write ports, too.
        assert_eq!(client("10.0.0.1", &["6.6.6.6, 1.2.3.4:5678"]), "1.2.3.4");
        assert_eq!(client("10.0.0.1", &["[2001:db8::17]:5678"]), "2001:db8::17");
        assert_eq!(client("10.0.0.1", &[]), "10.0.0.1");
    }

    #[test]
    fn the_standard_header_is_read_by_its_grammar() {
        let client = |lines: &[&str]| client_by(Forwarded::Standard, "10.0.0.1", lines);
        for (line, expected) in [
            ("for=1.2.3.4", "1.2.3.4"),
            ("For=\"1.2.3.4:8080\"; proto=https;by=10.0.0.1", "1.2.3.4"),
            ("proto=https;for=\"[2001:db8::17]:4711\"", "2001:db8::17"),
            ("for=6.6.6.6, for=1.2.3.4, for=10.0.0.2", "1.2.3.4"),
            ("for=\"1.2.3\\.4\"", "1.2.3.4"),
            (" for=1.2.3.4 ;; host=a.example ,", "10.0.0.1"),
            ("for=1.2.3.4;host=\"a, for=6.6.6.6\"", "1.2.3.4"),
            ("for=unknown", "10.0.0.1"),
            ("for=6.6.6.6, for=_hidden", "10.0.0.1"),
            ("for=6.6.6.6, proto=https", "10.0.0.1"),
            ("", "10.0.0.1"),
            // What breaks the grammar.
            ("1.2.3.4", "10.0.0.1"),
            ("for=2001:db8::17", "10.0.0.1"),
            ("for=\"2001:db8::17\"", "10.0.0.1"),
            ("for=\"[1.2.3.4]\"", "10.0.0.1"),
            ("for=1.2.3.4;for=6.6.6.6", "10.0.0.1"),
            ("for = 1.2.3.4", "10.0.0.1"),
            ("for=1.2.3.4 6.6.6.6", "10.0.0.1"),
            ("for=6.6.6.6;x=\", for=1.2.3.4", "10.0.0.1"),
            ("for=6.6.6.6;x=\", for=\"[2001:db8::17]\"", "10.0.0.1"),
            ("for=\"1.2.3.4", "10.0.0.1"),
        ] {
            assert_eq!(client(&[line]), expected, "{line}");
        }
        assert_eq!(client(&["for=6.6.6.6;x=\"", "for=1.2.3.4"]), "1.2.3.4");
        // The other header is nobody's.
        assert_eq!(Forwarded::Standard.header(), "forwarded");
    }

    #[test]
    fn neighbours_in_a_64_share_a_key() {
        let key = |address: &str| ClientKey::from(address.parse::<IpAddr>().unwrap());
        assert_eq!(key("2001:db8::1"), key("2001:db8::ffff:2"));
        assert_ne!(key("2001:db8::1"), key("2001:db8:0:1::1"));
        assert_eq!(key("::ffff:1.2.3.4"), key("1.2.3.4"));
        assert_ne!(key("1.2.3.4"), key("1.2.3.5"));
    }

    proptest! {
        /// Whatever a client has written in front, the address that the proxy has put behind it counts, or none does.
        #[test]
        fn nothing_hides_what_a_proxy_has_said(before in "[ -~]{0,24}", quoted in any::<bool>()) {
            let said = if quoted { "\"[2001:db8::17]\"" } else { "192.0.2.7" };
            let line = format!("{before}, for={said}");
            let last = *Forwarded::Standard.addresses([line.as_str()].into_iter()).last().unwrap();
            let expected: IpAddr = said.trim_matches(['"', '[', ']']).parse().unwrap();
            prop_assert!(last.is_none() || last == Some(expected), "{line}: {last:?}");
        }
    }
}
