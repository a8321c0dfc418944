//! Where a login may end: on this host, as browsers read it.
#![no_main]

use libfuzzer_sys::fuzz_target;
use parley::identity::LocalPath;
use url::Url;

fuzz_target!(|text: &str| {
    let Ok(path) = text.parse::<LocalPath>() else {
        return;
    };
    let path = path.as_str();
    assert!(
        path.starts_with('/') && path.bytes().all(|byte| byte.is_ascii_graphic()),
        "{path:?}"
    );
    for page in [
        "https://parley.example/auth/callback?code=a",
        "http://localhost:5150/",
    ] {
        let page = Url::parse(page).unwrap();
        for text in [text, path] {
            let there = page.join(text).unwrap();
            assert_eq!(there.origin(), page.origin(), "{text:?}");
            assert_eq!(&there[url::Position::BeforePath..], path, "{text:?}");
        }
    }
    // What was read is read as the same.
    assert_eq!(
        path.parse::<LocalPath>().as_ref().map(LocalPath::as_str),
        Ok(path)
    );
});
