//! The database's address: what can be said of it without opening it.

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

#[cfg(test)]
mod tests {
    use super::*;

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
