use serde_json::{Value, json};

use super::*;
use crate::settings::{Environment, Settings};

const HASH: &str = "$2b$12$abcdefghijklmnopqrstuuAbCdEfGhIjKlMnOpQrStUvWxYz01234";

fn load<const N: usize>(auth: &Value, env: [(&str, &str); N]) -> Result<Auth, Vec<String>> {
    let yaml = json!({"auth": auth});
    let read = Settings::load(Some(&yaml), &Environment::from_pairs(env), &[], false);
    read.map(|settings| settings.auth).map_err(|errors| {
        assert!(!errors.to_string().contains("abcdef"), "{errors}");
        errors.0.into_iter().map(|mistake| mistake.path).collect()
    })
}

#[test]
fn the_mode_is_basic_and_off_only_in_dev_mode() {
    assert_eq!(load(&json!({}), []).unwrap().mode, AuthMode::Basic);
    let mode = |word: &str| load(&json!({"mode": word}), []).map(|auth| auth.mode);
    assert_eq!(mode("oidc"), Ok(AuthMode::Oidc));
    assert_eq!(mode("both"), Ok(AuthMode::Both));
    assert_eq!(mode("off"), Err(vec!["settings.auth.mode".to_owned()]));
    assert_eq!(mode("none"), Err(vec!["settings.auth.mode".to_owned()]));
    let both = json!({"mode": "both"});
    let with = |env| load(&both, env).map(|auth| auth.mode);
    assert_eq!(with([("AUTH_MODE", "OIDC")]), Ok(AuthMode::Oidc));
    for wrong in ["off", "x"] {
        let error = with([("AUTH_MODE", wrong)]);
        assert_eq!(error, Err(vec!["AUTH_MODE".to_owned()]));
    }
    for mode in ["basic", "oidc", "off"] {
        let yaml = json!({"auth": {"mode": mode}, "dev_mode": true});
        let settings = Settings::load(Some(&yaml), &Environment::default(), &[], false);
        assert_eq!(settings.unwrap().auth.mode, AuthMode::Off);
    }
}

/// The positions of users, and nothing else of them.
#[test]
fn hashes_of_several_costs_are_told() {
    let cheap = HASH.replace("$12$", "$04$");
    let yaml = |first: &str, mode: &str| {
        json!({"mode": mode, "basic": {"user": "ada", "password_hash": first, "users": [
            {"name": "eve", "password_hash_env": "EVE_PW_HASH"},
            {"name": "bob", "password_hash_env": "BOB_PW_HASH"},
        ]}})
    };
    let uneven = |first, mode| {
        let env = [("EVE_PW_HASH", HASH), ("BOB_PW_HASH", cheap.as_str())];
        load(&yaml(first, mode), env).unwrap().uneven_hashes()
    };
    let told = uneven(HASH, "basic").unwrap();
    assert!(told.contains("the list: 3)"), "{told}");
    assert!(
        !["bob", "eve", "04", "abcdef"]
            .iter()
            .any(|it| told.contains(it))
    );
    assert!(uneven(&cheap, "both").unwrap().contains("the list: 2)"));
    assert_eq!(uneven(HASH, "oidc"), None);
    let even = json!({"basic": {"user": "ada", "password_hash": HASH}});
    assert_eq!(load(&even, []).unwrap().uneven_hashes(), None);
}

/// Each would see the others' tokens.
#[test]
fn one_issuer_is_asked_what_tokens_are() {
    let issuer = |name: &str, introspection: Value| json!({"issuer": name, "audience": "parley", "introspection": introspection});
    let asked = || json!({"client_id": "parley", "client_secret_env": "CLIENT_SECRET"});
    let read = |second: Value| {
        let issuers = [
            issuer("https://a.example", asked()),
            issuer("https://b.example", second),
        ];
        let yaml = json!({"mode": "oidc", "oidc": issuers});
        load(&yaml, [("CLIENT_SECRET", "secret")]).map(|auth| auth.issuers.len())
    };
    assert_eq!(read(json!({})), Ok(2));
    let mistake = "settings.auth.oidc[1].introspection".to_owned();
    assert_eq!(read(asked()), Err(vec![mistake]));
}

#[test]
fn users_have_names_hashes_and_scopes() {
    let yaml = json!({"basic": {"user": "ada", "password_hash": HASH, "users": [
        {"name": "eve", "password_hash_env": "EVE_PW_HASH"},
        {"name": "bob", "password_hash_env": "EVE_PW_HASH", "scopes": ["runs:read"]},
    ]}});
    let auth = load(&yaml, [("EVE_PW_HASH", HASH)]).unwrap();
    let users = auth.users.iter();
    let users: Vec<String> = users
        .map(|user| format!("{} {}", user.name, user.scopes.join(" ")))
        .collect();
    assert_eq!(
        users,
        [
            "ada runs:read runs:write runs:admin",
            "eve runs:read runs:write",
            "bob runs:read"
        ]
    );
    assert!(!format!("{auth:?}").contains("abcdef"));
}

#[test]
fn a_user_that_is_set_up_wrongly_stops_the_boot() {
    let hash = [("PW_HASH", HASH), ("BAD_HASH", "abcdef")];
    for (user, paths) in [
        (
            json!({"password_hash_env": "PW_HASH"}),
            "settings.auth.basic.users[0].name",
        ),
        (
            json!({"name": "a:b", "password_hash_env": "PW_HASH"}),
            "settings.auth.basic.users[0].name",
        ),
        (
            json!({"name": "eve"}),
            "settings.auth.basic.users[0].password_hash_env",
        ),
        (
            json!({"name": "eve", "password_hash_env": HASH}),
            "settings.auth.basic.users[0].password_hash_env",
        ),
        (
            json!({"name": "eve", "password_hash_env": "NO_HASH"}),
            "settings.auth.basic.users[0].password_hash_env",
        ),
        (
            json!({"name": "eve", "password_hash_env": "BAD_HASH"}),
            "BAD_HASH",
        ),
        (
            json!({"name": "eve", "password_hash_env": "PW_HASH", "scopes": ["admin"]}),
            "settings.auth.basic.users[0].scopes",
        ),
        (
            json!({"name": "eve", "password_hash_env": "PW_HASH", "scopes": []}),
            "settings.auth.basic.users[0].scopes",
        ),
        (
            json!({"name": "eve", "password_hash": HASH, "password_hash_env": "PW_HASH"}),
            "settings.auth.basic.users.0.password_hash",
        ),
    ] {
        let read = load(&json!({"basic": {"users": [user]}}), hash);
        assert_eq!(read.unwrap_err(), [paths], "{user}");
    }
    let twice = json!({"name": "eve", "password_hash_env": "PW_HASH"});
    let read = load(&json!({"basic": {"users": [twice, twice]}}), hash);
    assert_eq!(read.unwrap_err(), ["settings.auth.basic.users[1].name"]);
}

#[test]
fn issuers_are_https_and_have_an_audience() {
    let yaml = json!({"oidc": [
        {"issuer": "https://a.example/x", "audience": "parley"},
        {"issuer": "http://127.0.0.1:8080", "audience": ["a", "b"], "accept_plain_jwt": true, "leeway_seconds": 0},
    ]});
    let auth = load(&yaml, []).unwrap();
    assert_eq!(auth.issuers[0].audience, ["parley"]);
    assert_eq!(auth.issuers[0].leeway, Duration::from_secs(30));
    assert!(!auth.issuers[0].accept_plain_jwt && auth.issuers[1].accept_plain_jwt);
    assert_eq!(auth.issuers[1].leeway, Duration::ZERO);
    for wrong in [
        "",
        "a.example",
        "http://a.example",
        "https://u:abcdef@a.example",
        "https://a.example?x",
        "https://a.example/#x",
        "ftp://127.0.0.1",
    ] {
        let issuer = json!({"oidc": [{"issuer": wrong, "audience": "a"}]});
        assert_eq!(
            load(&issuer, []).unwrap_err(),
            ["settings.auth.oidc[0].issuer"],
            "{wrong}"
        );
    }
    for wrong in [json!([]), json!(""), json!(["a", ""])] {
        let issuer = json!({"oidc": [{"issuer": "https://a.example", "audience": wrong}]});
        assert_eq!(
            load(&issuer, []).unwrap_err(),
            ["settings.auth.oidc[0].audience"]
        );
    }
    let one = json!({"issuer": "https://a.example", "audience": "a"});
    let twice = load(&json!({"oidc": [one, one]}), []);
    assert_eq!(twice.unwrap_err(), ["settings.auth.oidc[1].issuer"]);
}

#[test]
fn the_environment_names_one_issuer() {
    let (name, audience) = ("OIDC_ISSUER", "OIDC_AUDIENCE");
    let yaml = json!({"mode": "oidc", "oidc": [
        {"issuer": "https://a.example", "audience": "old", "accept_plain_jwt": true},
        {"issuer": "https://b.example", "audience": "b"},
    ]});
    let auth = load(&yaml, [(name, "https://a.example"), (audience, "x, y")]).unwrap();
    assert_eq!(auth.issuers.len(), 1);
    assert_eq!(auth.issuers[0].audience, ["x", "y"]);
    assert!(auth.issuers[0].accept_plain_jwt);
    let listed = load(&yaml, [(name, "https://b.example")]).unwrap();
    assert_eq!(listed.issuers[0].audience, ["b"]);
    let none = load(&yaml, [(name, "https://c.example")]);
    assert_eq!(none.unwrap_err(), [audience]);
    assert_eq!(load(&yaml, [(audience, "x")]).unwrap_err(), [name]);
    let http = load(&yaml, [(name, "http://c.example"), (audience, "x")]);
    assert_eq!(http.unwrap_err(), [name]);
}

#[test]
fn what_does_nothing_in_the_mode_is_told() {
    let issuer = json!([{"issuer": "https://a.example", "audience": "a"}]);
    let user = json!({"user": "ada", "password_hash": HASH});
    for (yaml, idle, nobody) in [
        (json!({}), false, true),
        (json!({"basic": user}), false, false),
        (json!({"oidc": issuer}), true, true),
        (json!({"mode": "oidc", "basic": user}), true, true),
        (json!({"mode": "oidc", "oidc": issuer}), false, false),
        (json!({"mode": "both", "oidc": issuer}), false, false),
    ] {
        let auth = load(&yaml, []).unwrap();
        assert_eq!(
            (auth.idle().is_some(), auth.lets_nobody_in()),
            (idle, nobody),
            "{yaml}"
        );
    }
    let wanting = |yaml: Value| load(&yaml, []).unwrap().wanting().count();
    assert_eq!(wanting(json!({"mode": "both"})), 2);
    assert_eq!(wanting(json!({"mode": "both", "basic": user})), 1);
    assert_eq!(wanting(json!({"mode": "oidc", "oidc": issuer})), 0);
}

#[test]
fn the_threads_of_passwords_are_a_number_within_bounds() {
    assert_eq!(load(&json!({}), []).unwrap().hash_threads, 2);
    let threads = |threads: Value| load(&json!({"basic": {"hash_threads": threads}}), []);
    assert_eq!(threads(json!(64)).unwrap().hash_threads, 64);
    for (wrong, says) in [(0, "at least 1"), (65, "at most 64")] {
        let yaml = json!({"auth": {"basic": {"hash_threads": wrong}}});
        let mistakes = Settings::load(Some(&yaml), &Environment::default(), &[], false);
        let mistakes = mistakes.unwrap_err().to_string();
        let told = format!("settings.auth.basic.hash_threads: must be {says}");
        assert!(mistakes.contains(&told), "{mistakes}");
    }
}

#[test]
fn clients_of_an_issuer_are_set_up_whole_or_not_at_all() {
    let one = |login: Value, introspection: Value| {
        json!({"mode": "oidc", "oidc": [{
            "issuer": "https://a.example", "audience": "parley", "login": login, "introspection": introspection,
        }]})
    };
    let env = [("WEB_SECRET", "canary")];
    let good = one(
        json!({"client_id": "web", "client_secret_env": "WEB_SECRET", "scopes": ["email"], "grants": ["runs:read"]}),
        json!({"client_id": "api", "client_secret_env": "WEB_SECRET"}),
    );
    let auth = load(&good, env).unwrap();
    assert!(auth.takes_logins());
    let client = auth.issuers[0].client.as_ref().unwrap();
    assert_eq!(client.scopes, ["openid", "email"]);
    assert!(client.secret.secret.is_some() && auth.issuers[0].introspection.is_some());
    assert!(!format!("{auth:?}").contains("canary"));
    let public = load(&one(json!({"client_id": "web"}), json!({})), env).unwrap();
    let client = public.issuers[0].client.as_ref().unwrap();
    assert_eq!(client.scopes, ["openid", "runs:read", "runs:write"]);
    assert!(client.secret.secret.is_none() && public.issuers[0].introspection.is_none());
    assert!(
        !load(&one(json!({}), json!({})), env)
            .unwrap()
            .takes_logins()
    );
    for (login, introspection, place) in [
        (
            json!({"client_secret_env": "WEB_SECRET"}),
            json!({}),
            "login.client_id",
        ),
        (
            json!({"client_id": "web", "client_secret_env": "NOT_SET"}),
            json!({}),
            "login.client_secret_env",
        ),
        (
            json!({"client_id": "web", "client_secret_env": "the secret"}),
            json!({}),
            "login.client_secret_env",
        ),
        (
            json!({"client_id": "web", "grants": ["runs:all"]}),
            json!({}),
            "login.grants",
        ),
        (
            json!({"client_id": "web", "scopes": ["a b"]}),
            json!({}),
            "login.scopes",
        ),
        (
            json!({}),
            json!({"client_id": "api"}),
            "introspection.client_secret_env",
        ),
        (
            json!({}),
            json!({"client_secret_env": "WEB_SECRET"}),
            "introspection.client_id",
        ),
    ] {
        let mistakes = load(&one(login, introspection), env).unwrap_err();
        assert_eq!(mistakes, [format!("settings.auth.oidc[0].{place}")]);
    }
    let named = [
        ("OIDC_ISSUER", "https://b.example"),
        ("OIDC_AUDIENCE", "parley"),
        ("OIDC_CLIENT_ID", "web"),
    ];
    assert!(
        load(&json!({"mode": "oidc"}), named)
            .unwrap()
            .takes_logins()
    );
}
