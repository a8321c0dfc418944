//! A key under which a request that makes something is carried out once, however often it comes
//! (<https://datatracker.ietf.org/doc/draft-ietf-httpapi-idempotency-key-header/>).

/// What a client sent with a request that it may send again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdempotencyKey {
    /// What was asked for: method and path.
    pub route: String,
    /// The key, 1 to 255 visible ASCII characters.
    pub key: String,
    /// What tells the request's body from others.
    pub body_hash: String,
}

/// A text that is no idempotency key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("an Idempotency-Key is 1 to 255 visible ASCII characters, bare or in double quotes")]
pub struct InvalidIdempotencyKey;

impl IdempotencyKey {
    /// Reads the header's value. Quotes around it do not count.
    ///
    /// # Errors
    /// When it is no key.
    pub fn read(
        route: String,
        header: &[u8],
        body_hash: String,
    ) -> Result<Self, InvalidIdempotencyKey> {
        let bare = header
            .strip_prefix(b"\"")
            .and_then(|rest| rest.strip_suffix(b"\""))
            .unwrap_or(header);
        let fine = (1..=255).contains(&bare.len()) && bare.iter().all(u8::is_ascii_graphic);
        let key = std::str::from_utf8(bare).map_err(|_| InvalidIdempotencyKey)?;
        if fine {
            Ok(Self {
                route,
                key: key.to_owned(),
                body_hash,
            })
        } else {
            Err(InvalidIdempotencyKey)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_told_from_what_is_none() {
        let read = |header: &[u8]| {
            IdempotencyKey::read(String::new(), header, String::new()).map(|key| key.key)
        };
        assert_eq!(read(b"a-1").as_deref(), Ok("a-1"));
        assert_eq!(read(b"\"a-1\"").as_deref(), Ok("a-1"));
        assert_eq!(read(&[b'x'; 255]).map(|key| key.len()), Ok(255));
        for wrong in [
            &b""[..],
            b"\"\"",
            b"a b",
            b"a\tb",
            &[b'x'; 256],
            "é".as_bytes(),
            b"\xff",
        ] {
            assert_eq!(read(wrong), Err(InvalidIdempotencyKey), "{wrong:?}");
        }
    }
}
