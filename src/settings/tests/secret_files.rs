//! Secrets from files: which may come so, and what is said of those that are none.

use super::*;

/// Files with these contents, and what names each: `NAME_FILE` and its path.
fn in_files(folder: &std::path::Path, secrets: &[(&str, &str)]) -> Environment {
    let mut env = vec![("BASIC_AUTH_USER".to_owned(), "ada".to_owned())];
    for (name, content) in secrets {
        let path = folder.join(name.to_ascii_lowercase());
        std::fs::write(&path, content).unwrap();
        env.push((format!("{name}_FILE"), path.display().to_string()));
    }
    Environment::of(env)
}

#[test]
fn every_secret_may_come_from_a_file() {
    let folder = tempfile::tempdir().unwrap();
    let signs = "canary-".repeat(5);
    let secrets = [
        ("OPENAI_API_KEY", "canary-1\n"),
        ("ANOTHER_KEY", "canary-2"),
        ("BASIC_AUTH_PW_HASH", HASH),
        ("EVE_PW_HASH", HASH),
        ("PARLEY_SECRET", signs.as_str()),
        ("DATABASE_URL", "postgres://u:canary@h/b\r\n"),
        ("REDIS_URL", "redis://:canary@h"),
    ];
    let env = in_files(folder.path(), &secrets);
    let yaml = json!({
        "providers": {"mine": {"kind": "openai", "api_key_env": "ANOTHER_KEY"}},
        "auth": {"basic": {"users": [{"name": "eve", "password_hash_env": "EVE_PW_HASH"}]}},
    });
    let settings = load(&yaml, &env).unwrap();
    let key = |name| {
        let key = provider(&settings, name).api_key.as_ref();
        key.map(|key| key.expose_secret().to_owned())
    };
    assert_eq!(key("openai").as_deref(), Some("canary-1"));
    assert_eq!(key("mine").as_deref(), Some("canary-2"));
    let users = settings.auth.users.iter();
    let users: Vec<_> = users
        .map(|user| (user.name.as_str(), user.password_hash.expose_secret()))
        .collect();
    assert_eq!(users, [("ada", HASH), ("eve", HASH)]);
    assert_eq!(settings.auth.secrets[0].expose_secret(), signs);
    let server = &settings.server;
    let database = server.database_url.as_ref().map(Secret::expose);
    assert_eq!(database, Some("postgres://u:canary@h/b"));
    let redis = server.redis_url.as_ref().map(Secret::expose);
    assert_eq!(redis, Some("redis://:canary@h"));
    let mut files = settings.secret_files.clone();
    files.sort();
    let mut named = secrets.map(|(name, _)| format!("{name}_FILE"));
    named.sort();
    assert_eq!(files, named);
    let shown = format!("{settings:?} {env:?}");
    assert!(
        !shown.contains("canary") && !shown.contains(&HASH[7..]),
        "{shown}"
    );
}

#[test]
fn what_is_wrong_with_a_secret_in_a_file_is_told_by_the_variable_that_names_it_and_once() {
    let folder = tempfile::tempdir().unwrap();
    let secrets = [
        ("OPENAI_API_KEY", ""),
        ("BASIC_AUTH_PW_HASH", "canary"),
        ("EVE_PW_HASH", "canary"),
        ("PARLEY_SECRET", "canary"),
        ("DATABASE_URL", "\n"),
    ];
    let env = in_files(folder.path(), &secrets);
    let yaml = json!({
        "providers": {"mine": {"kind": "openai", "api_key_env": "OPENAI_API_KEY"}},
        "auth": {"basic": {"users": [{"name": "eve", "password_hash_env": "EVE_PW_HASH"}]}},
    });
    let errors = Settings::load(Some(&yaml), &env, &KINDS, false).unwrap_err();
    let mut paths: Vec<&str> = errors.0.iter().map(|it| it.path.as_str()).collect();
    paths.sort_unstable();
    let mut named = secrets.map(|(name, _)| format!("{name}_FILE"));
    named.sort();
    assert_eq!(paths, named);
    assert!(!errors.to_string().contains("canary"), "{errors}");
    // Nobody is told that a hash is missing which is there, in a file that cannot be read.
    let env = Environment::from_pairs([
        ("BASIC_AUTH_USER", "ada"),
        ("BASIC_AUTH_PW_HASH_FILE", "/nowhere"),
    ]);
    assert_eq!(
        load(&json!({}), &env).unwrap_err(),
        ["BASIC_AUTH_PW_HASH_FILE"]
    );
}

/// What a shell or a YAML file does to a hash is no matter of one in a file.
#[test]
fn a_hash_that_is_none_is_told_where_it_came_from() {
    let folder = tempfile::tempdir().unwrap();
    let quoted = format!("'{HASH}'");
    let of_file = in_files(folder.path(), &[("BASIC_AUTH_PW_HASH", &quoted)]);
    let of_shell = Environment::from_pairs([
        ("BASIC_AUTH_USER", "ada"),
        ("BASIC_AUTH_PW_HASH", "b12canary"),
    ]);
    for (env, said, unsaid) in [
        (&of_file, "the file must hold the bare hash", "shell"),
        (&of_shell, "in a shell or a YAML file", "bare hash"),
    ] {
        let errors = Settings::load(None, env, &KINDS, false).unwrap_err();
        let errors = errors.to_string();
        assert!(
            errors.contains(said) && !errors.contains(unsaid),
            "{errors}"
        );
        assert!(
            !errors.contains(HASH) && !errors.contains("canary"),
            "{errors}"
        );
    }
}

/// With such a key every run would fail.
#[test]
fn a_key_that_no_header_can_carry_is_told_by_its_variable_once() {
    let folder = tempfile::tempdir().unwrap();
    let yaml = json!({"providers": {"mine": {"kind": "openai", "api_key_env": "OPENAI_API_KEY"}}});
    for key in ["canary\ncanary\n", "canary\n\n", "can\tary", "can\u{e4}ry"] {
        let env = in_files(folder.path(), &[("OPENAI_API_KEY", key)]);
        let of_file = Environment::of(
            ["OPENAI_API_KEY_FILE"]
                .map(|name| (name.to_owned(), env.get(name).unwrap().to_owned())),
        );
        let errors = Settings::load(Some(&yaml), &of_file, &KINDS, false).unwrap_err();
        let paths: Vec<&str> = errors.0.iter().map(|it| it.path.as_str()).collect();
        assert_eq!(paths, ["OPENAI_API_KEY_FILE"], "{key:?}");
        let said = errors.to_string();
        assert!(
            !said.contains("ary") && !said.contains("\u{e4}ry"),
            "{said}"
        );
    }
    let env = Environment::from_pairs([("ANTHROPIC_API_KEY", "can\nary")]);
    assert_eq!(load(&json!({}), &env).unwrap_err(), ["ANTHROPIC_API_KEY"]);
}

#[test]
fn files_for_what_is_no_secret_are_warned_of() {
    let env = Environment::from_pairs([
        ("PORT_FILE", "/run/secrets/port"),
        ("BASIC_AUTH_USER_FILE", "canary"),
        ("OPENAI_BASE_URL_FILE", "canary"),
        ("HOST_FILE", ""),
        ("ANOTHER_FILE", "canary"),
    ]);
    let vain = load(&json!({}), &env).unwrap().vain_files().unwrap();
    let names = "PORT_FILE, BASIC_AUTH_USER_FILE, OPENAI_BASE_URL_FILE: not read";
    assert!(vain.starts_with(names), "{vain}");
    let none = load(&json!({}), &Environment::default()).unwrap();
    assert_eq!(none.vain_files(), None);
}
