//! `X-Forwarded-For` and `Forwarded`: whatever a client has written in front, what the proxy has put behind it counts, or nothing does.
#![no_main]

use std::net::{IpAddr, Ipv4Addr};

use libfuzzer_sys::fuzz_target;
use parley::identity::{ClientKey, Forwarded, client_address};

const PROXY: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1));
const CLIENT: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 7));

fuzz_target!(|text: &str| {
    let trusted = ["10.0.0.0/8".parse().unwrap()];
    let client = |said| client_address(PROXY, said, &trusted);
    let lines: Vec<&str> = text.split('\n').collect();
    for (header, element) in [
        (Forwarded::XForwardedFor, "192.0.2.7"),
        (Forwarded::Standard, "for=192.0.2.7"),
        (
            Forwarded::Standard,
            "proto=https;For=\"192.0.2.7:4711\";by=_a",
        ),
    ] {
        let said = header.addresses(lines.iter().copied());
        // Who is no proxy is who it is, whatever it says; nobody is one of the proxies by what is said.
        assert_eq!(client_address(CLIENT, said.clone(), &trusted), CLIENT);
        let found = client(said.clone());
        let is_said = said
            .iter()
            .flatten()
            .any(|address| address.to_canonical() == found);
        assert!(found == PROXY || is_said, "{found} of {said:?}");
        assert_eq!(
            ClientKey::from(found)
                .to_string()
                .parse::<IpAddr>()
                .map(ClientKey::from),
            Ok(ClientKey::from(found))
        );

        // A line of the proxy's own.
        let own = [lines.as_slice(), &[element]].concat();
        assert_eq!(
            client(header.addresses(own.iter().copied())),
            CLIENT,
            "{own:?}"
        );
        // Behind the client's last line.
        let (last, before) = lines.split_last().unwrap_or((&"", &[]));
        let line = format!("{last}, {element}");
        let behind = client(header.addresses(before.iter().copied().chain([line.as_str()])));
        match header {
            Forwarded::XForwardedFor => assert_eq!(behind, CLIENT, "{line}"),
            Forwarded::Standard => assert!([CLIENT, PROXY].contains(&behind), "{line}: {behind}"),
        }
    }
});
