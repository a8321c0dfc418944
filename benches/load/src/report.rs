//! What is told at the end: a table in Markdown, and the same as JSON.

use std::fmt::Write as _;

use serde::Serialize;

use crate::figures::Figure;

/// One line of the table.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Row {
    pub(crate) name: String,
    pub(crate) unit: &'static str,
    pub(crate) relay: Option<Figure>,
    pub(crate) parley: Figure,
    /// Parley's figure over the relay's, repetition by repetition; or over what the name says.
    pub(crate) ratio: Option<Figure>,
    pub(crate) goal: String,
    /// `None`: there is no goal.
    pub(crate) reached: Option<bool>,
}

/// All of it.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    /// How it was measured.
    pub(crate) conditions: Vec<String>,
    pub(crate) rows: Vec<Row>,
}

impl Row {
    /// Without a goal and a relay.
    pub(crate) fn plain(name: impl Into<String>, unit: &'static str, parley: Figure) -> Self {
        Self {
            name: name.into(),
            unit,
            relay: None,
            parley,
            ratio: None,
            goal: String::new(),
            reached: None,
        }
    }

    /// Figures of the relay and of Parley, pair by pair.
    pub(crate) fn pairs(name: impl Into<String>, unit: &'static str, pairs: &[(f64, f64)]) -> Self {
        let relay = Some(Figure::of(pairs.iter().map(|pair| pair.0)));
        let ratio = Some(Figure::of(pairs.iter().map(|pair| pair.1 / pair.0)));
        Self {
            relay,
            ratio,
            ..Self::plain(name, unit, Figure::of(pairs.iter().map(|pair| pair.1)))
        }
    }

    /// The ratio is at most this.
    pub(crate) fn ratio_at_most(mut self, goal: f64) -> Self {
        self.goal = format!("≤ {goal:.2} ×");
        self.reached = self.ratio.map(|ratio| ratio.median <= goal);
        self
    }

    /// The figure itself is at most this.
    pub(crate) fn at_most(mut self, goal: f64) -> Self {
        self.goal = format!("≤ {goal} {}", self.unit);
        self.reached = Some(self.parley.median <= goal);
        self
    }

    /// The figure is at most the relay's and this.
    pub(crate) fn beyond_relay(mut self, goal: f64) -> Self {
        self.goal = format!("≤ relay + {goal:.2} {}", self.unit);
        self.reached = self
            .relay
            .map(|relay| self.parley.median <= relay.median + goal);
        self
    }
}

impl Report {
    pub(crate) fn markdown(&self) -> String {
        let mut table =
            String::from("| | relay | Parley | ratio | goal | |\n|---|---|---|---|---|---|\n");
        for row in &self.rows {
            let relay = row.relay.map_or_else(String::new, told);
            let ratio = row.ratio.map_or_else(String::new, told);
            let reached = match row.reached {
                Some(true) => "reached",
                Some(false) => "**not reached**",
                None => "",
            };
            let (name, unit, parley, goal) = (&row.name, row.unit, told(row.parley), &row.goal);
            let unit = if unit.is_empty() {
                String::new()
            } else {
                format!(", {unit}")
            };
            let _ = writeln!(
                table,
                "| {name}{unit} | {relay} | {parley} | {ratio} | {goal} | {reached} |"
            );
        }
        for condition in &self.conditions {
            let _ = write!(table, "\n- {condition}");
        }
        table
    }
}

/// The median, and the range if there is one.
fn told(figure: Figure) -> String {
    let digits = match figure.median.abs() {
        value if value >= 100.0 => 0,
        value if value >= 10.0 => 1,
        value if value >= 0.1 => 2,
        _ => 4,
    };
    let median = format!("{:.digits$}", figure.median);
    if figure.least.to_bits() == figure.most.to_bits() {
        return median;
    }
    format!(
        "{median} ({:.digits$}–{:.digits$})",
        figure.least, figure.most
    )
}
