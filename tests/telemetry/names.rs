//! What the dashboard, the alert rules and the docs name is what the server exposes.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    fs,
    path::Path,
    time::Duration,
};

use parley::{
    conversation::{
        AttemptEnd, Breakdown, Cost, Counts as _, DatabaseCall, DatabaseTrouble, FailureCode,
        Happening, LoginRefusal, MessageStatus, RunEnd, RunStatus, Target, Usage,
    },
    telemetry::{Known, Metrics, Vitals, exposition},
};
use serde_json::Value;

/// Whatever can happen, once.
fn everything() -> String {
    let models = vec!["m".to_owned()];
    let metrics = Metrics::new(Known::new([("p".to_owned(), models)]));
    let (took, target) = (
        Duration::from_millis(1),
        Target {
            provider: "p".to_owned(),
            model: "m".to_owned(),
        },
    );
    let attempt = AttemptEnd {
        target: &target,
        outcome: "server",
        failure: Some(FailureCode::Server),
        repeated: true,
        deltas: 1,
        usage: Usage::NOTHING,
        cost: Some(Cost::ZERO),
        took: Some(took),
        first_delta: Some(took),
    };
    for happening in [
        Happening::RunAccepted,
        Happening::RunEnded(RunEnd {
            status: RunStatus::Failed,
            reason: None,
            failure: Some(FailureCode::Server),
        }),
        Happening::RunRecovered(Breakdown::Process),
        Happening::LeaseLost,
        Happening::TurnEnded {
            status: MessageStatus::Completed,
            took,
        },
        Happening::AttemptEnded(&attempt),
        Happening::AttemptDelayed {
            provider: "p",
            code: FailureCode::Overloaded,
        },
        Happening::BreakerOpened {
            provider: "p",
            model: "m",
        },
        Happening::DatabaseAsked {
            what: DatabaseCall::Begin,
            took,
            trouble: Some(DatabaseTrouble::Passing),
        },
        Happening::LoginRefused(LoginRefusal::TooMany),
        Happening::RateLimited { policy: "p" },
        Happening::ConnectionRefused { limit: "l" },
        Happening::RequestAnswered {
            method: "GET",
            route: Some("/x"),
            status: 200,
            took,
        },
    ] {
        metrics.count(happening);
    }
    metrics.bytes_sent(Some("/x")).add(1);
    exposition(&metrics, &Vitals::default())
}

/// A metric: its type, its help, the names of its labels.
#[derive(Debug, Default)]
struct Told {
    kind: String,
    help: String,
    labels: BTreeSet<String>,
}

/// All metrics, by name.
fn metrics() -> BTreeMap<String, Told> {
    let mut told: BTreeMap<String, Told> = BTreeMap::new();
    for line in everything().lines() {
        let words: Vec<&str> = line.splitn(4, ' ').collect();
        match words[..] {
            ["#", "HELP", name, help] => {
                help.clone_into(&mut told.entry(name.to_owned()).or_default().help);
            }
            ["#", "TYPE", name, kind] => {
                kind.clone_into(&mut told.entry(name.to_owned()).or_default().kind);
            }
            _ => {
                let sample = line.split([' ', '{']).next().unwrap();
                let name = base(sample, &told).expect(sample);
                let labels = line.split_once('{').map_or("", |(_, rest)| rest);
                let labels = labels.split(',').filter_map(|label| label.split_once('='));
                let labels = labels.map(|(label, _)| label.to_owned());
                let labels = labels.filter(|label| label != "le");
                told.get_mut(&name).unwrap().labels.extend(labels);
            }
        }
    }
    told
}

/// The metric that a sample belongs to.
fn base(sample: &str, told: &BTreeMap<String, Told>) -> Option<String> {
    let suffixes = ["", "_bucket", "_sum", "_count"];
    let mut names = suffixes
        .iter()
        .filter_map(|suffix| sample.strip_suffix(suffix));
    names
        .find(|name| told.contains_key(*name))
        .map(str::to_owned)
}

/// What looks like one of our metrics, or the process's, in a text.
fn named(text: &str) -> BTreeSet<String> {
    let words = text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
    let ours = words.filter(|word| {
        (word.starts_with("parley_") || word.starts_with("process_")) && !word.ends_with('_')
    });
    ours.map(str::to_owned).collect()
}

fn read(path: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap()
}

#[test]
fn every_metric_has_a_help_and_a_type_and_ours_are_prefixed() {
    let told = metrics();
    assert!(told.len() > 35, "{}", told.len());
    for (name, told) in &told {
        assert!(
            told.help.len() > 10 && told.help.ends_with('.'),
            "{name}: {}",
            told.help
        );
        assert!(!told.kind.is_empty(), "{name}");
        assert!(
            name.starts_with("parley_") || name.starts_with("process_"),
            "{name}"
        );
        assert_eq!(
            name.ends_with("_total"),
            told.kind == "counter",
            "{name} {}",
            told.kind
        );
    }
}

/// The query of each alert.
fn rules() -> BTreeMap<String, String> {
    let rules: Value = serde_yaml_ng::from_str(&read("deploy/prometheus/alerts.yml")).unwrap();
    let rules = rules["groups"][0]["rules"].as_array().unwrap().iter();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    rules
        .map(|rule| (text(&rule["alert"]), text(&rule["expr"])))
        .collect()
}

/// The labels that Prometheus adds, and what a histogram's bounds are called.
const ADDED: [&str; 3] = ["instance", "job", "le"];

/// Fails if the query names a metric that there is not, or a label that its metrics do not have: in `{…}` that of the metric before it,
/// in `by (…)` and `on (…)` that of all metrics in the query.
fn check_labels(query: &str, told: &BTreeMap<String, Told>) {
    let has = |name: &str, label: &str| {
        let Some(base) = base(name, told) else {
            panic!("{name} in {query}");
        };
        ADDED.contains(&label) || told[&base].labels.contains(label)
    };
    let names = named(query);
    assert!(!names.is_empty() || query.starts_with("up{"), "{query}");
    for (open, rest) in query.match_indices('{').map(|(at, _)| query.split_at(at)) {
        let name = open.rsplit(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
        let name = name.into_iter().next().unwrap();
        if !(name.starts_with("parley_") || name == "up" || name.starts_with("process_")) {
            continue;
        }
        let matchers = rest[1..].split_once('}').unwrap().0;
        for label in labels_of(matchers) {
            let fine = if name == "up" {
                ADDED.contains(&label)
            } else {
                has(name, label)
            };
            assert!(fine, "{name} has no {label}: {query}");
        }
    }
    for word in ["by (", "on (", "without ("] {
        for rest in query.split(word).skip(1) {
            let labels = rest.split_once(')').unwrap().0;
            for label in labels.split(',').map(str::trim) {
                for name in &names {
                    assert!(has(name, label), "{name} has no {label}: {query}");
                }
            }
        }
    }
}

/// The names before `=`, `!=`, `=~` and `!~`, whatever stands in the quotes after them.
fn labels_of(matchers: &str) -> impl Iterator<Item = &str> {
    let outside = matchers.split('"').step_by(2);
    outside
        .map(|part| part.trim_matches(|c: char| ", =!~".contains(c)))
        .filter(|label| !label.is_empty())
}

#[test]
#[should_panic = "parley_ready has no model"]
fn a_label_that_is_none_is_found() {
    check_labels("sum by (model) (parley_ready)", &metrics());
}

#[test]
#[should_panic = "parley_runs_ended_total has no state"]
fn a_matcher_that_fits_nothing_is_found() {
    check_labels(
        r#"sum(increase(parley_runs_ended_total{status="failed",state=~"a,b=c"}[5m]))"#,
        &metrics(),
    );
}

#[test]
fn rules_and_dashboard_use_metrics_and_labels_that_there_are() {
    let told = metrics();
    let dashboard: Value = serde_json::from_str(&read("deploy/grafana/parley.json")).unwrap();
    let panels = dashboard["panels"].as_array().unwrap();
    let targets = panels
        .iter()
        .flat_map(|panel| panel["targets"].as_array().into_iter().flatten());
    let queries: Vec<String> = targets
        .map(|target| target["expr"].as_str().unwrap().to_owned())
        .collect();
    assert!(queries.len() > 40, "{}", queries.len());
    let mut shown = BTreeSet::new();
    for query in &queries {
        let names = named(query);
        assert!(!names.is_empty(), "{query}");
        for name in names {
            shown.insert(base(&name, &told).unwrap_or_else(|| panic!("{name} in {query}")));
        }
    }
    let rules = rules();
    assert!(rules.len() > 12, "{}", rules.len());
    for query in queries.iter().chain(rules.values()) {
        check_labels(query, &told);
    }
    // Nothing is counted for nobody: the dashboard shows all but what no picture can be made of.
    let hidden: Vec<&String> = told
        .keys()
        .filter(|name| !shown.contains(*name))
        .filter(|name| {
            !matches!(
                name.as_str(),
                "process_start_time_seconds" | "process_virtual_memory_bytes" | "process_threads"
            )
        })
        .collect();
    assert!(
        hidden.is_empty(),
        "the dashboard shows nothing of {hidden:?}"
    );
}

#[test]
fn every_alert_has_its_lines_in_the_docs() {
    let docs = read("docs/monitoring.md");
    let rules = read("deploy/prometheus/alerts.yml");
    let tests = read("deploy/prometheus/alerts_test.yml");
    let alerts: Vec<&str> = rules
        .lines()
        .filter_map(|line| line.trim().strip_prefix("- alert: "))
        .collect();
    assert!(alerts.len() > 12);
    for alert in alerts {
        assert!(docs.contains(&format!("\n### {alert}\n")), "{alert}");
        let anchor = format!("docs/monitoring.md#{}\n", alert.to_lowercase());
        assert!(rules.contains(&anchor), "{alert}");
        assert!(
            tests.contains(&format!("alertname: {alert}\n        exp_alerts:")),
            "{alert} fires in no test"
        );
    }
}

const BEGIN: &str =
    "<!-- metrics: made by PARLEY_TEST_DOCS=write cargo test telemetry::names -->\n";
const END: &str = "<!-- end of metrics -->\n";

fn table() -> String {
    let mut table = String::from("\n| metric | kind | labels | what |\n|---|---|---|---|\n");
    for (name, told) in metrics() {
        let labels: Vec<String> = told
            .labels
            .iter()
            .map(|label| format!("`{label}`"))
            .collect();
        let what = told.help.trim_end_matches('.');
        writeln!(
            table,
            "| `{name}` | {} | {} | {what} |",
            told.kind,
            labels.join(" ")
        )
        .unwrap();
    }
    table.push('\n');
    table
}

#[test]
fn the_docs_list_all_metrics() {
    let docs = read("docs/monitoring.md");
    let (before, rest) = docs.split_once(BEGIN).unwrap();
    let (listed, after) = rest.split_once(END).unwrap();
    if std::env::var("PARLEY_TEST_DOCS").is_ok_and(|word| word == "write") {
        let whole = format!("{before}{BEGIN}{}{END}{after}", table());
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/monitoring.md");
        return fs::write(path, whole).unwrap();
    }
    assert_eq!(listed, table(), "set PARLEY_TEST_DOCS=write");
}
