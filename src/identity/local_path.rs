//! Where a browser may be sent: paths of ours, and nowhere else.

use url::Url;

/// The longest path that is gone to: a cookie has its bounds.
const MAX_PATH: usize = 1_024;

/// A path of ours, with its query: where a browser may be sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LocalPath(String);

impl LocalPath {
    /// As it stands behind the host.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::str::FromStr for LocalPath {
    type Err = NotLocal;

    /// As browsers read it: what begins with two slashes, or with what they take for such, is another server's.
    fn from_str(text: &str) -> Result<Self, NotLocal> {
        const OURS: &str = "https://parley.invalid";
        let printable = text.starts_with('/') && !text.contains(char::is_control);
        let base = Url::parse(OURS).map_err(|_| NotLocal)?;
        let url = base.join(text).map_err(|_| NotLocal)?;
        let path = url.as_str().strip_prefix(OURS).filter(|_| printable);
        let path = path.filter(|path| path.starts_with('/') && !path.starts_with("//"));
        // As it is written from now on: what is not ASCII has become longer.
        let path = path.filter(|path| path.len() <= MAX_PATH);
        path.map(|path| Self(path.to_owned())).ok_or(NotLocal)
    }
}

/// A text that is no path of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must be a path on this server, such as /docs, of 1024 bytes at most as browsers write it")]
pub struct NotLocal;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_paths_of_ours_are_gone_to() {
        let read = |text: &str| text.parse::<LocalPath>().map(|path| path.0);
        for fine in ["/", "/docs", "/a/b?c=d&e#f", "/a//b", "/%2F%2Fevil.example"] {
            assert_eq!(read(fine).as_deref(), Ok(fine));
        }
        assert_eq!(read("/a/../b").as_deref(), Ok("/b"));
        // What is kept of it must fit into a cookie.
        assert!(read(&format!("/{}", "a".repeat(MAX_PATH - 1))).is_ok());
        assert_eq!(read(&format!("/{}", "a".repeat(MAX_PATH))), Err(NotLocal));
        assert_eq!(
            read(&format!("/{}", "ä".repeat(MAX_PATH / 4))),
            Err(NotLocal)
        );
        for evil in [
            "",
            "docs",
            "//evil.example",
            "///evil.example",
            "/\\evil.example",
            "\\\\evil.example",
            "/\t/evil.example",
            "/\n/evil.example",
            "\t//evil.example",
            " //evil.example",
            "/..//evil.example",
            "/a/..//evil.example",
            "/.//evil.example",
            "/%2e%2e//evil.example",
            "https://evil.example",
            "https:evil.example",
            "javascript:alert(1)",
            "http:///evil.example",
            "@evil.example",
            ".evil.example",
        ] {
            assert_eq!(read(evil), Err(NotLocal), "{evil:?}");
        }
    }
}
