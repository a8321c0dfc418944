//! The metrics of an application, read as Prometheus reads them.

use std::collections::BTreeMap;

use parley::controllers::extract::Door;

use super::{TestApp, client};

/// The samples of one scrape: by name and labels, as they stand in the text.
#[derive(Debug)]
pub(crate) struct Scrape(BTreeMap<String, f64>);

impl Scrape {
    pub(crate) async fn of(app: &TestApp) -> Self {
        let answer = app.get("/metrics").await;
        assert_eq!(
            (answer.status, answer.header("content-type")),
            (200, "text/plain; version=0.0.4; charset=utf-8")
        );
        Self::read(&answer.text)
    }

    /// The same where there is no connection to be had.
    pub(crate) fn inside(app: &TestApp) -> Self {
        let door = app.ctx.shared_store.get::<Door>().unwrap();
        Self::read(&(door.metrics)())
    }

    /// Of a server at that address.
    pub(crate) async fn at(base: &str) -> Self {
        let answer = client().get(format!("{base}/metrics")).send();
        Self::read(&answer.await.unwrap().text().await.unwrap())
    }

    pub(crate) fn read(text: &str) -> Self {
        let samples = text.lines().filter(|line| !line.starts_with('#'));
        let mut read = BTreeMap::new();
        for line in samples {
            let (name, value) = line.rsplit_once(' ').unwrap();
            let before = read.insert(name.to_owned(), value.parse().unwrap());
            assert_eq!(before, None, "a series that comes twice: {line}");
        }
        Self(read)
    }

    /// The sample of that name and with all of these labels; the sum, where there are several. Zero where there is none.
    pub(crate) fn sum(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        let fits = |key: &str| {
            let (found, rest) = key.split_once('{').unwrap_or((key, ""));
            let has =
                |(label, value): &(&str, &str)| rest.contains(&format!("{label}=\"{value}\""));
            found == name && labels.iter().all(has)
        };
        let found = self.0.iter().filter(|(key, _)| fits(key));
        found.map(|(_, value)| value).sum()
    }

    /// What labels there are of that name.
    pub(crate) fn series(&self, name: &str) -> Vec<&str> {
        let of_it = |key: &&String| key.split('{').next() == Some(name);
        self.0.keys().filter(of_it).map(String::as_str).collect()
    }
}
