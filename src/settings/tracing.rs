//! Where traces go, by the names that OpenTelemetry has for it
//! (<https://opentelemetry.io/docs/specs/otel/protocol/exporter/>).

use url::Url;

use super::{Tracing, file, read::Reader};

impl Reader<'_> {
    /// `None`: nowhere.
    pub(super) fn tracing(&mut self, file: &file::Tracing) -> Option<Tracing> {
        let is = |name: &str, word: &str| {
            let value = self.env.get(name);
            value.is_some_and(|value| value.eq_ignore_ascii_case(word))
        };
        if is("OTEL_SDK_DISABLED", "true") || is("OTEL_TRACES_EXPORTER", "none") {
            return None;
        }
        let text = |name: &str| self.env.get(name).map(str::to_owned);
        let base = text("OTEL_EXPORTER_OTLP_ENDPOINT");
        let of_traces = text("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT");
        let (place, address, path) = match (of_traces, base, &file.endpoint) {
            // This one is taken as it stands.
            (Some(address), _, _) => ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", address, ""),
            (None, Some(address), _) => ("OTEL_EXPORTER_OTLP_ENDPOINT", address, "/v1/traces"),
            (None, None, Some(address)) => {
                ("settings.tracing.endpoint", address.clone(), "/v1/traces")
            }
            (None, None, None) => return None,
        };
        let protocol = text("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL")
            .or_else(|| text("OTEL_EXPORTER_OTLP_PROTOCOL"));
        if protocol.is_some_and(|word| word != "http/protobuf") {
            self.mistakes.add(
                "OTEL_EXPORTER_OTLP_PROTOCOL",
                "must be http/protobuf: no other is spoken here",
            );
        }
        if let Err(reason) = check(&address) {
            self.mistakes.add(place, reason);
            return None;
        }
        // As the standard has it, a number that is none is as good as no word.
        let number = |name: &str, otherwise: usize| {
            let number = self.env.get(name).and_then(|value| value.parse().ok());
            number.filter(|number| *number > 0).unwrap_or(otherwise)
        };
        Some(Tracing {
            queue: number("OTEL_BSP_MAX_QUEUE_SIZE", 2048),
            batch: number("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", 512),
            endpoint: format!("{}{path}", address.trim_end_matches('/')),
            service_name: text("OTEL_SERVICE_NAME"),
            record_content: file.record_content,
        })
    }
}

fn check(address: &str) -> Result<(), &'static str> {
    let url = Url::parse(address).map_err(|_| "is no address, such as http://localhost:4318")?;
    if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
        return Err("must begin with http:// or https://");
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err("must hold no password: put it into OTEL_EXPORTER_OTLP_HEADERS");
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err("must have no query");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::settings::{Environment, Settings, Tracing};

    fn read<const N: usize>(pairs: [(&str, &str); N]) -> Result<Option<Tracing>, String> {
        let env = Environment::from_pairs(pairs);
        let yaml = serde_json::json!({});
        let read = Settings::load(Some(&yaml), &env, &[], false);
        read.map(|settings| settings.tracing)
            .map_err(|mistakes| mistakes.to_string())
    }

    const BASE: &str = "OTEL_EXPORTER_OTLP_ENDPOINT";
    const WHOLE: &str = "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT";

    #[test]
    fn the_standard_names_say_where_traces_go() {
        let endpoint = |read: Result<Option<Tracing>, String>| read.unwrap().unwrap().endpoint;
        let base = (BASE, "http://collector:4318/");
        assert_eq!(endpoint(read([base])), "http://collector:4318/v1/traces");
        let whole = (WHOLE, "https://collector/otlp");
        assert_eq!(endpoint(read([base, whole])), "https://collector/otlp");
        let named = read([base, ("OTEL_SERVICE_NAME", "talks")])
            .unwrap()
            .unwrap();
        assert_eq!(
            (named.service_name.as_deref(), named.record_content),
            (Some("talks"), false)
        );
        for off in [
            read([]),
            read([base, ("OTEL_SDK_DISABLED", "TRUE")]),
            read([base, ("OTEL_TRACES_EXPORTER", "none")]),
        ] {
            assert!(off.unwrap().is_none());
        }
    }

    #[test]
    fn what_cannot_be_an_address_stops_the_boot() {
        for address in [
            "collector:4318",
            "ftp://x",
            "http://",
            "http://a:b@x",
            "http://x?y",
        ] {
            let mistakes = read([(BASE, address)]).unwrap_err();
            assert!(mistakes.contains(BASE), "{mistakes}");
            assert!(!mistakes.contains("a:b"), "{mistakes}");
        }
        let grpc = read([(BASE, "http://x"), ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")]);
        assert!(grpc.unwrap_err().contains("http/protobuf"));
    }
}
