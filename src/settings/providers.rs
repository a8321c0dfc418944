//! The providers of the file and of the environment.

use std::collections::BTreeMap;

use super::{
    Api, ApiKind, Provider, SystemRole, file,
    read::{Reader, size},
};

const KEY_ENV: &str = "must be the name of an environment variable in capitals, such as OPENAI_API_KEY; the key itself does not \
                       belong into a file";
/// Headers that carry keys.
const KEYS: [&str; 6] = [
    "authorization",
    "proxy-authorization",
    "cookie",
    "api-key",
    "x-api-key",
    "x-goog-api-key",
];
/// Headers that say how a request is to be read: another word there, and no server could.
const OF_HTTP: [&str; 7] = [
    "host",
    "content-length",
    "content-type",
    "content-encoding",
    "transfer-encoding",
    "accept-encoding",
    "connection",
];
const BASE_URL: &str =
    "must be an http or https address without a query and without a user or a password";

impl Reader<'_> {
    /// Those that the file names, and one of each kind under the kind's own name.
    pub(super) fn providers(
        &mut self,
        file: &BTreeMap<String, file::Provider>,
        development: bool,
    ) -> Vec<Provider> {
        let mut named = file.clone();
        for kind in self.kinds {
            named.entry(kind.name.to_owned()).or_default();
        }
        let mut all: Vec<Provider> = named
            .iter()
            .filter_map(|(name, file)| self.provider(name, file))
            .collect();
        // In development, and only there, two bots talk without any key: the simulator stands in for the vendors.
        let nothing_configured = all
            .iter()
            .all(|provider| provider.api_key.is_none() && provider.base_url.is_none());
        for provider in &mut all {
            let vendor = provider.name == provider.kind;
            let asked = named.get(&provider.name).and_then(|file| file.simulate);
            provider.simulate = asked.unwrap_or(development && nothing_configured && vendor);
        }
        all
    }

    fn provider(&mut self, name: &str, file: &file::Provider) -> Option<Provider> {
        let place = |key: &str| format!("settings.providers.{name}.{key}");
        if !is_name(name) {
            let reason = "must have 1 to 64 small letters, digits, hyphens and underscores";
            self.mistakes
                .add(format!("settings.providers.{name}"), reason);
        }
        let wanted = file.kind.as_deref().unwrap_or(name);
        let Some(kind) = self.kinds.iter().find(|kind| kind.name == wanted) else {
            let kinds: Vec<&str> = self.kinds.iter().map(|kind| kind.name).collect();
            let reason = format!("must be one of {}", kinds.join(", "));
            self.mistakes.add(place("kind"), reason);
            return None;
        };
        let upper = name.to_ascii_uppercase().replace('-', "_");
        let base_url = self.base_url(kind, &format!("{upper}_BASE_URL"), &place("base_url"), file);
        let api_key_env = file
            .api_key_env
            .clone()
            .unwrap_or_else(|| format!("{upper}_API_KEY"));
        if !is_variable(&api_key_env) {
            // The value is not repeated: it may be the key itself, put here by mistake.
            self.mistakes.add(place("api_key_env"), KEY_ENV);
        }
        let api_key = self.secret(&api_key_env).ok().flatten();
        if let Some(key) = api_key.as_ref().filter(|key| !is_carried(key.expose())) {
            let reason = "has a character that no header can carry, such as an end of line: it must be the key alone";
            let variable = key.variable.clone();
            // Several may have the same one.
            let told = self.mistakes.0.iter().any(|it| it.path == variable);
            if !told {
                self.mistakes.add(variable, reason);
            }
        }
        self.headers(name, file);
        if kind.name != "openai" {
            let of_openai = [
                ("api", file.api != Api::Auto),
                ("max_tokens_field", file.max_tokens_field.is_some()),
                ("system_role", file.system_role != SystemRole::System),
                ("include_usage", file.include_usage.is_some()),
            ];
            for (key, _) in of_openai.into_iter().filter(|(_, set)| *set) {
                let reason = "goes for the kind openai alone";
                self.mistakes.add(place(key), reason);
            }
        }
        let pairs = |map: &BTreeMap<String, String>| map.clone().into_iter().collect();
        Some(Provider {
            name: name.to_owned(),
            kind: kind.name,
            api: file.api,
            base_url,
            query: pairs(&file.query),
            headers: pairs(&file.headers),
            key_header: file.key_header.clone(),
            max_tokens_field: file.max_tokens_field,
            system_role: file.system_role,
            include_usage: file.include_usage.unwrap_or(true),
            think_tags: file.think_tags,
            max_concurrent: file.max_concurrent.map(|limit| size(limit.0)),
            requests_per_minute: file.requests_per_minute.map(|limit| size(limit.0)),
            api_key: api_key.map(|key| key.value),
            api_key_env,
            simulate: false,
            models: file.models.clone().unwrap_or_else(|| {
                // What the vendor offers is no word about another's server.
                let vendor = name == kind.name;
                let models = kind.models.iter().filter(|_| vendor);
                models.map(ToString::to_string).collect()
            }),
        })
    }

    fn headers(&mut self, name: &str, file: &file::Provider) {
        let place = |key: &str| format!("settings.providers.{name}.{key}");
        let named = "must be named by letters, digits and hyphens";
        if file.key_header.iter().any(|header| !is_header(header)) {
            self.mistakes.add(place("key_header"), named);
        }
        let of_http = |header: &String| OF_HTTP.iter().any(|own| header.eq_ignore_ascii_case(own));
        let by_itself = "is set by what is sent, and not here";
        if file.key_header.iter().any(of_http) {
            self.mistakes.add(place("key_header"), by_itself);
        }
        for (header, value) in &file.headers {
            let place = place(&format!("headers.{header}"));
            if !is_header(header) {
                self.mistakes.add(place, named);
            } else if KEYS.iter().any(|key| header.eq_ignore_ascii_case(key)) {
                let reason = "carries a key, which does not belong into a file: name the header in key_header, and set the \
                              environment variable that api_key_env names";
                self.mistakes.add(place, reason);
            } else if of_http(header) {
                self.mistakes.add(place, by_itself);
            } else if !is_carried(value) {
                self.mistakes
                    .add(place, "must be one line of visible ASCII characters");
            }
        }
    }

    /// The address, if it is not the vendor's own: that one is what it is without any, and wants a key.
    fn base_url(
        &mut self,
        kind: &ApiKind,
        variable: &str,
        place: &str,
        file: &file::Provider,
    ) -> Option<String> {
        let from_env = self.env.get(variable).map(str::to_owned);
        self.vain_files.extend(self.env.file_in_vain(variable));
        let place = if from_env.is_some() { variable } else { place };
        let url = from_env.or_else(|| file.base_url.clone())?;
        let url = url.trim_end_matches('/').to_owned();
        let fine = url::Url::parse(&url).is_ok_and(|url| {
            matches!(url.scheme(), "http" | "https")
                && url.has_host()
                && url.query().is_none()
                && url.username().is_empty()
                && url.password().is_none()
        });
        if !fine {
            self.mistakes.add(place, BASE_URL);
        }
        Some(url).filter(|url| url != kind.vendor_url)
    }
}

fn is_name(name: &str) -> bool {
    let fine = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b'_');
    (1..=64).contains(&name.len()) && name.bytes().all(fine)
}

fn is_header(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
}

/// Whether a header can have it for its value, and a server that reads it finds nothing else.
fn is_carried(key: &str) -> bool {
    key.bytes().all(|b| (b' '..=b'~').contains(&b))
}

/// Whether it is the name of an environment variable as names of keys are written. A key pasted in its place hardly is.
pub(super) fn is_variable(name: &str) -> bool {
    name.len() <= 64
        && name.starts_with(|c: char| c.is_ascii_uppercase() || c == '_')
        && name
            .bytes()
            .all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_')
}
