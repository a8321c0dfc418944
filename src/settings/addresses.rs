//! The addresses of the database and of Redis: what can be said of them without opening them, and without their passwords.

use url::Url;

/// Checks the form of a database's address, and spells it as the library behind does. The reason never repeats it: it may hold a
/// password.
///
/// # Errors
/// What is wrong, and how an address looks.
pub fn database_url(address: &str) -> Result<String, String> {
    const FORMS: &str = "sqlite://parley.sqlite?mode=rwc, sqlite::memory: or postgres://user:password@host:5432/database";
    if let Some(file) = address.strip_prefix("sqlite:") {
        let path = file.trim_start_matches('/').split('?').next();
        return match path {
            None | Some("") => Err(format!("names no file; expected: {FORMS}")),
            Some(_) => Ok(address.to_owned()),
        };
    }
    let url = Url::parse(address)
        .map_err(|error| format!("is no address of a database ({error}); expected: {FORMS}"))?;
    match url.scheme() {
        "postgres" | "postgresql" if !url.has_host() || url.path().len() < 2 => {
            Err(format!("names no host or no database; expected: {FORMS}"))
        }
        "postgres" => Ok(address.to_owned()),
        "postgresql" => Ok(address.replacen("postgresql", "postgres", 1)),
        other => Err(format!(
            "is of a kind that Parley does not know ({other}); expected: {FORMS}"
        )),
    }
}

/// Checks the form of Redis's address. The reason never repeats it.
///
/// # Errors
/// What is wrong, and how an address looks.
pub fn check_redis_url(address: &str) -> Result<(), String> {
    const FORM: &str = "redis://user:password@host:6379/0";
    let url = Url::parse(address)
        .map_err(|error| format!("is no address of Redis ({error}); expected: {FORM}"))?;
    match url.scheme() {
        "unix" | "redis+unix" | "valkey+unix" => Ok(()),
        "rediss" | "valkeys" => Err(format!(
            "asks for TLS, which Parley does not speak to Redis; expected: {FORM}"
        )),
        "redis" | "valkey" if !url.has_host() => Err(format!("names no host; expected: {FORM}")),
        "redis" | "valkey" => {
            let database = url.path().trim_start_matches('/');
            match database.is_empty() || database.parse::<u32>().is_ok() {
                true => Ok(()),
                false => Err(format!(
                    "names a database that is no number; expected: {FORM}"
                )),
            }
        }
        other => Err(format!(
            "is of a kind that Parley does not know ({other}); expected: {FORM}"
        )),
    }
}

/// What stands in the place of a secret.
pub const HIDDEN: &str = "***";

/// The address without the user, the password, and whatever else may be secret in it.
#[must_use]
pub fn without_secrets(address: &str) -> String {
    if address.starts_with("sqlite:") {
        return address.to_owned();
    }
    let Ok(mut url) = Url::parse(address) else {
        return HIDDEN.to_owned();
    };
    if !url.username().is_empty() || url.password().is_some() {
        // An address that has them can have others.
        let _ = url.set_username(HIDDEN);
        let _ = url.set_password(None);
    }
    // `?password=` is another way to say it.
    if url.query().is_some() {
        url.set_query(Some(HIDDEN));
    }
    url.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_redis_are_told_from_what_is_none() {
        for fine in [
            "redis://127.0.0.1",
            "redis://127.0.0.1:6379/3",
            "redis://:a@[::1]/",
            "unix:///run/redis.sock",
        ] {
            assert_eq!(check_redis_url(fine), Ok(()), "{fine}");
        }
        for (wrong, word) in [
            ("127.0.0.1:6379", "expected"),
            ("redis:", "no host"),
            ("redis://:secret@h:port", "port"),
            ("redis://:secret@h/jobs", "no number"),
            ("rediss://:secret@h", "TLS"),
            ("http://:secret@h", "http"),
        ] {
            let reason = check_redis_url(wrong).unwrap_err();
            assert!(
                reason.contains(word) && !reason.contains("secret"),
                "{wrong}: {reason}"
            );
        }
    }

    #[test]
    fn an_address_is_shown_without_its_secrets() {
        for (address, shown) in [
            (
                "sqlite://parley.sqlite?mode=rwc",
                "sqlite://parley.sqlite?mode=rwc",
            ),
            ("postgres://u:canary@h:5432/b", "postgres://***@h:5432/b"),
            (
                "postgres://canary@h/b?password=canary",
                "postgres://***@h/b?***",
            ),
            ("redis://:canary@h/1", "redis://***@h/1"),
            ("redis://h", "redis://h"),
            ("no address: canary", "***"),
        ] {
            assert_eq!(without_secrets(address), shown);
        }
    }

    #[test]
    fn addresses_are_told_from_what_is_none() {
        for fine in [
            "sqlite::memory:",
            "sqlite://parley.sqlite?mode=rwc",
            "sqlite:///var/lib/parley.sqlite",
            "sqlite:parley.sqlite",
            "postgres://postgres@127.0.0.1:5432/parley",
            "postgres://a:b%40c@[::1]/parley?sslmode=require",
        ] {
            assert_eq!(database_url(fine).as_deref(), Ok(fine));
        }
        assert_eq!(
            database_url("postgresql://h/b").as_deref(),
            Ok("postgres://h/b")
        );
        for (wrong, word) in [
            ("", "expected"),
            ("not a url", "expected"),
            ("parley.sqlite", "expected"),
            ("sqlite:", "names no file"),
            ("sqlite://?mode=rwc", "names no file"),
            ("mysql://a/b", "mysql"),
            ("postgres://a:secret@h:port/b", "port"),
            ("postgres://h", "no database"),
            ("postgresql:///b", "no host"),
        ] {
            let reason = database_url(wrong).unwrap_err();
            assert!(
                reason.contains(word) && !reason.contains("secret"),
                "{wrong}: {reason}"
            );
        }
    }
}
