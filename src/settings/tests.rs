use secrecy::ExposeSecret as _;
mod secret_files;

use serde_json::json;

use super::*;

const HASH: &str = "$2b$12$abcdefghijklmnopqrstuuAbCdEfGhIjKlMnOpQrStUvWxYz01234";

const KINDS: [ApiKind; 2] = [
    ApiKind {
        name: "openai",
        vendor_url: "https://api.openai.com/v1",
        models: &["model-a"],
    },
    ApiKind {
        name: "anthropic",
        vendor_url: "https://api.anthropic.com",
        models: &["model-b"],
    },
];

fn provider<'a>(settings: &'a Settings, name: &str) -> &'a Provider {
    let named = settings
        .providers
        .iter()
        .find(|provider| provider.name == name);
    named.unwrap()
}

fn load(yaml: &Value, env: &Environment) -> Result<Settings, Vec<String>> {
    Settings::load(Some(yaml), env, &KINDS, true)
        .map_err(|errors| errors.0.into_iter().map(|mistake| mistake.path).collect())
}

#[test]
fn nothing_set_is_fine_and_simulated_in_development_alone() {
    let settings = Settings::load(None, &Environment::default(), &KINDS, true).unwrap();
    assert!(settings.providers.iter().all(|provider| provider.simulate));
    assert_eq!(
        (
            settings.run_max_turns,
            settings.run_creations_per_minute,
            settings.dev_mode
        ),
        (50, 10, false)
    );
    let elsewhere = Settings::load(None, &Environment::default(), &KINDS, false).unwrap();
    assert!(
        elsewhere
            .providers
            .iter()
            .all(|provider| !provider.simulate)
    );
}

#[test]
fn all_mistakes_are_told_together_with_their_paths() {
    let yaml = json!({
        "dev_mode": "perhaps",
        "run_max_turns": 0,
        "retry": {"max_attempts": -1, "surprise": 1},
        "http": {"trusted_proxies": ["nowhere"], "allowed_origins": ["https://a.example", "https://a.example/"]},
        "provider": {},
        "simulator": {"pace": -1.0},
    });
    let env = Environment::from_pairs([
        ("PORT", "x"),
        ("RUN_MAX_TURNS", "0"),
        ("LOG_LEVEL", "loud"),
        ("BASIC_AUTH_USER", "a"),
    ]);
    let mut paths = load(&yaml, &env).unwrap_err();
    paths.sort();
    assert_eq!(
        paths,
        [
            "BASIC_AUTH_PW_HASH",
            "LOG_LEVEL",
            "PORT",
            "RUN_MAX_TURNS",
            "settings.dev_mode",
            "settings.http.allowed_origins[1]",
            "settings.http.trusted_proxies[0]",
            "settings.provider",
            "settings.retry.max_attempts",
            "settings.retry.surprise",
            "settings.run_max_turns",
            "settings.simulator.pace",
        ]
    );
}

#[test]
fn the_environment_goes_over_the_file() {
    let yaml = json!({"dev_mode": true, "run_max_turns": 7, "providers": {"openai": {"base_url": "http://a/v1"}}});
    let env = Environment::from_pairs([
        ("DEV_MODE", "false"),
        ("RUN_MAX_TURNS", "9"),
        ("OPENAI_BASE_URL", "http://127.0.0.1:8080/v1/"),
        ("PORT", "8080"),
    ]);
    let settings = load(&yaml, &env).unwrap();
    assert_eq!(
        (
            settings.dev_mode,
            settings.run_max_turns,
            settings.server.port
        ),
        (false, 9, Some(8080))
    );
    assert_eq!(
        provider(&settings, "openai").base_url.as_deref(),
        Some("http://127.0.0.1:8080/v1")
    );
    assert!(
        settings.providers.iter().all(|provider| !provider.simulate),
        "something is configured"
    );
}

#[test]
fn a_key_configures_and_the_vendors_own_address_alone_does_not() {
    let env = Environment::from_pairs([
        ("ANTHROPIC_API_KEY", "canary"),
        ("OPENAI_BASE_URL", "https://api.openai.com/v1"),
    ]);
    let settings = load(&json!({}), &env).unwrap();
    assert_eq!(
        provider(&settings, "anthropic")
            .api_key
            .as_ref()
            .map(|key| key.expose_secret()),
        Some("canary")
    );
    assert!(provider(&settings, "openai").base_url.is_none());
    assert!(!format!("{settings:?}").contains("canary"));
}

#[test]
fn a_hash_that_is_none_stops_the_boot_and_is_not_shown() {
    for bad in [
        "secret-canary",
        "$2b$12$short",
        "b$12$x",
        "$2x$12$abcdefghijklmnopqrstuuAbCdEfGhIjKlMnOpQrStUvWxYz01234",
    ] {
        let env = Environment::from_pairs([("BASIC_AUTH_USER", "a"), ("BASIC_AUTH_PW_HASH", bad)]);
        let error = Settings::load(None, &env, &KINDS, true).unwrap_err();
        assert_eq!(error.0[0].path, "BASIC_AUTH_PW_HASH");
        assert!(!error.to_string().contains(bad), "{error}");
    }
    let env = Environment::from_pairs([("BASIC_AUTH_USER", "a"), ("BASIC_AUTH_PW_HASH", HASH)]);
    let settings = load(&json!({}), &env).unwrap();
    assert_eq!(
        settings
            .auth
            .users
            .first()
            .map(|user| user.password_hash.expose_secret()),
        Some(HASH)
    );
    assert!(!format!("{settings:?}").contains("abcdef"));
}

#[test]
fn production_wants_a_login_and_no_dev_mode() {
    let login = [("BASIC_AUTH_USER", "a"), ("BASIC_AUTH_PW_HASH", HASH)];
    let with = Settings::load(None, &Environment::from_pairs(login), &KINDS, false).unwrap();
    assert!(with.may_start(true, true).is_ok());
    let without = Settings::load(None, &Environment::default(), &KINDS, false).unwrap();
    assert!(without.may_start(true, true).is_err() && without.may_start(false, true).is_ok());
    assert!(
        without.may_start(true, false).is_ok(),
        "nobody can log in to a process that only works"
    );
    let dev = Settings {
        dev_mode: true,
        ..with
    };
    assert!(dev.may_start(true, true).is_err() && dev.may_start(false, true).is_ok());
}

#[test]
fn a_secret_in_the_wrong_place_stops_the_boot_and_is_not_repeated() {
    let yaml = json!({
        "auth": {"basic": {"user": 1, "password_hash": 777_123}},
        "providers": {
            "openai": {"api_key_env": "sk-canary-777123"},
            "anthropic": {"base_url": "http://user:777123@host.example"},
        },
    });
    let errors = Settings::load(Some(&yaml), &Environment::default(), &KINDS, true).unwrap_err();
    let mut paths: Vec<&str> = errors
        .0
        .iter()
        .map(|mistake| mistake.path.as_str())
        .collect();
    paths.sort_unstable();
    assert_eq!(
        paths,
        [
            "settings.auth.basic.password_hash",
            "settings.auth.basic.user",
            "settings.providers.anthropic.base_url",
            "settings.providers.openai.api_key_env",
        ]
    );
    assert!(!errors.to_string().contains("777123"), "{errors}");
}

#[test]
fn compatible_servers_have_names_of_their_own() {
    let yaml = json!({"providers": {
        "groq": {"kind": "openai", "base_url": "https://api.groq.com/openai/v1"},
        "my-local_1": {"kind": "anthropic", "base_url": "http://127.0.0.1:8080/", "api_key_env": "LOCAL_KEY", "models": ["m"]},
        "azure": {
            "kind": "openai", "api": "responses", "base_url": "https://x.example/openai/v1",
            "query": {"api-version": "preview"}, "key_header": "api-key", "headers": {"x-team": "a"},
        },
    }});
    let env = Environment::from_pairs([("GROQ_API_KEY", "k"), ("LOCAL_KEY", "l")]);
    let settings = load(&yaml, &env).unwrap();
    let groq = provider(&settings, "groq");
    assert_eq!(
        (groq.kind, groq.api_key_env.as_str()),
        ("openai", "GROQ_API_KEY")
    );
    assert!(
        groq.models.is_empty(),
        "OpenAI's models are no word about Groq's"
    );
    assert_eq!(groq.api_key.as_ref().unwrap().expose_secret(), "k");
    let local = provider(&settings, "my-local_1");
    assert_eq!(local.base_url.as_deref(), Some("http://127.0.0.1:8080"));
    let azure = provider(&settings, "azure");
    assert_eq!(
        (azure.api, azure.key_header.as_deref()),
        (Api::Responses, Some("api-key"))
    );
    assert!(settings.providers.iter().all(|provider| !provider.simulate));
}

#[test]
fn a_provider_that_is_set_up_wrongly_stops_the_boot() {
    for (wrong, path) in [
        (json!({"groq": {}}), "settings.providers.groq.kind"),
        (
            json!({"groq": {"kind": "gorq"}}),
            "settings.providers.groq.kind",
        ),
        (json!({"a b": {"kind": "openai"}}), "settings.providers.a b"),
        (
            json!({"groq": {"kind": "openai", "api": "chat"}}),
            "settings.providers.groq.api",
        ),
        (
            json!({"groq": {"kind": "openai", "headers": {"x y": "z"}}}),
            "settings.providers.groq.headers.x y",
        ),
        (
            json!({"groq": {"kind": "openai", "headers": {"Authorization": "Bearer canary"}}}),
            "settings.providers.groq.headers.Authorization",
        ),
        (
            json!({"groq": {"kind": "openai", "headers": {"Host": "a.example"}}}),
            "settings.providers.groq.headers.Host",
        ),
        (
            json!({"groq": {"kind": "openai", "headers": {"x-team": "a\r\nb: c"}}}),
            "settings.providers.groq.headers.x-team",
        ),
        (
            json!({"groq": {"kind": "openai", "key_header": "api key"}}),
            "settings.providers.groq.key_header",
        ),
        (
            json!({"groq": {"kind": "openai", "system_role": "user"}}),
            "settings.providers.groq.system_role",
        ),
        (
            json!({"groq": {"kind": "openai", "max_tokens_field": "limit"}}),
            "settings.providers.groq.max_tokens_field",
        ),
        (
            json!({"local": {"kind": "anthropic", "api": "responses"}}),
            "settings.providers.local.api",
        ),
        (
            json!({"local": {"kind": "anthropic", "include_usage": false}}),
            "settings.providers.local.include_usage",
        ),
        (
            json!({"groq": {"kind": "openai", "surprise": 1}}),
            "settings.providers.groq.surprise",
        ),
    ] {
        let paths = load(&json!({"providers": wrong}), &Environment::default()).unwrap_err();
        assert_eq!(paths[0], path);
    }
}

#[test]
fn numbers_have_bounds() {
    let numbers = |lifetime: u64, timeout: u64| {
        json!({
            "orchestrator": {"node_lifetime_ms": lifetime},
            "database": {
                "statement_timeout_ms": timeout,
                "lock_timeout_ms": timeout,
                "idle_in_transaction_timeout_ms": timeout,
            },
        })
    };
    let most = u64::from(i32::MAX.unsigned_abs());
    assert!(load(&numbers(500, most), &Environment::default()).is_ok());
    let mut paths = load(&numbers(499, most + 1), &Environment::default()).unwrap_err();
    paths.sort();
    assert_eq!(
        paths,
        [
            "settings.database.idle_in_transaction_timeout_ms",
            "settings.database.lock_timeout_ms",
            "settings.database.statement_timeout_ms",
            "settings.orchestrator.node_lifetime_ms",
        ]
    );
    for number in [0, 5_150, 65_535] {
        assert_eq!(port("--port", number).ok().map(i64::from), Some(number));
    }
    let error = port("--port", 70_000).unwrap_err();
    assert!(
        error.to_string().contains("--port: must be a port"),
        "{error}"
    );
}

#[test]
fn an_address_of_redis_that_is_empty_is_none() {
    let redis = |value| {
        let env = Environment::from_pairs([("REDIS_URL", value)]);
        let given = load(&json!({}), &env).unwrap().server.redis_url;
        given.map(|address| address.expose().to_owned())
    };
    assert_eq!(redis(" "), None);
    assert_eq!(redis("redis://h").as_deref(), Some("redis://h"));
}

#[test]
fn names_of_ours_are_names() {
    let load = |hosts: Value| {
        load(
            &json!({"http": {"allowed_hosts": hosts}}),
            &Environment::default(),
        )
    };
    let settings = load(json!(["Parley.Example", "parley"])).unwrap();
    assert_eq!(settings.http.allowed_hosts, ["parley.example", "parley"]);
    for wrong in [
        "",
        "https://a.example",
        "a.example:80",
        "a.example/",
        "a b",
        "a.example.",
        "*.a",
    ] {
        assert_eq!(
            load(json!(["parley", wrong])).unwrap_err(),
            ["settings.http.allowed_hosts[1]"],
            "{wrong}"
        );
    }
}
