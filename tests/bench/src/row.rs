//! One figure, what it is compared with, and what is wanted of it.
//!
//! A row that could not be measured stays in the list with its reason: a missing figure must be
//! seen, and none is ever made up.

use serde::Serialize;

/// One line of the result.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Row {
    /// Such as `get.veth`.
    pub name: String,
    /// What was measured of ours; null where it was not.
    pub value: Option<f64>,
    /// The value's unit.
    pub unit: &'static str,
    /// Ours divided by the peer's, the median over the rounds; of `agent.cloud-init`,
    /// `archive.import.*` and `archive.restore.*` the peer's time divided by ours. Null without a peer.
    pub ratio: Option<f64>,
    /// The peer and what was measured of it.
    pub against: Option<String>,
    /// Why there is no value.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

impl Row {
    /// A figure that stands by itself.
    pub fn alone(name: impl Into<String>, value: f64, unit: &'static str) -> Self {
        Self {
            name: name.into(),
            value: Some(round(value)),
            unit,
            ratio: None,
            against: None,
            reason: None,
        }
    }

    /// A figure beside a peer's.
    pub fn beside(
        name: impl Into<String>,
        value: f64,
        unit: &'static str,
        ratio: f64,
        against: impl Into<String>,
    ) -> Self {
        Self {
            ratio: Some(round(ratio)),
            against: Some(against.into()),
            ..Self::alone(name, value, unit)
        }
    }

    /// A figure that could not be measured here.
    pub fn missing(name: impl Into<String>, unit: &'static str, reason: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            value: None,
            unit,
            ratio: None,
            against: None,
            reason: Some(reason.into()),
        }
    }

    /// What is wanted of it, and whether it is so; None where nothing is wanted.
    pub fn verdict(&self) -> Option<(Wanted, bool)> {
        let wanted = *WANTED.iter().find(|wanted| wanted.name == self.name)?;
        let seen = match wanted.of {
            Of::Ratio => self.ratio,
            Of::Value => self.value,
        };
        Some((wanted, seen.is_some_and(|seen| wanted.bound.holds(seen))))
    }
}

/// What is wanted of a row.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Wanted {
    name: &'static str,
    of: Of,
    bound: Bound,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Of {
    Ratio,
    Value,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Bound {
    AtLeast(f64),
    AtMost(f64),
}

impl Bound {
    fn holds(self, seen: f64) -> bool {
        match self {
            Self::AtLeast(least) => seen >= least,
            Self::AtMost(most) => seen <= most,
        }
    }
}

impl std::fmt::Display for Wanted {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let of = match self.of {
            Of::Ratio => "ratio ",
            Of::Value => "",
        };
        match self.bound {
            Bound::AtLeast(least) => write!(out, "{of}>= {least}"),
            Bound::AtMost(most) => write!(out, "{of}<= {most}"),
        }
    }
}

const fn wanted(name: &'static str, of: Of, bound: Bound) -> Wanted {
    Wanted { name, of, bound }
}

/// The project's thresholds.
const WANTED: [Wanted; 25] = [
    wanted("get.veth", Of::Ratio, Bound::AtLeast(0.95)),
    wanted("get.nginx", Of::Ratio, Bound::AtLeast(0.9)),
    wanted("get.haproxy", Of::Ratio, Bound::AtLeast(6.0)),
    wanted("get.ipv6", Of::Ratio, Bound::AtLeast(0.95)),
    wanted("dhcp.dnsmasq", Of::Ratio, Bound::AtLeast(2.0)),
    wanted("frame.other", Of::Value, Bound::AtMost(60.0)),
    wanted("protocol.get", Of::Value, Bound::AtMost(1.2)),
    wanted("memory.instance", Of::Value, Bound::AtMost(2048.0)),
    wanted("start.100000", Of::Value, Bound::AtMost(1.5)),
    wanted("attach.10000", Of::Ratio, Bound::AtMost(1.2)),
    wanted("wake", Of::Value, Bound::AtMost(10.0)),
    wanted("agent.cloud-init", Of::Ratio, Bound::AtLeast(20.0)),
    wanted("agent.memory", Of::Value, Bound::AtMost(6.0)),
    wanted("storm.slowest", Of::Ratio, Bound::AtMost(2.0)),
    wanted("clone.100", Of::Ratio, Bound::AtMost(1.5)),
    wanted("clone.space", Of::Ratio, Bound::AtMost(1.5)),
    wanted("volume.default", Of::Ratio, Bound::AtLeast(0.8)),
    wanted("backup.bytes", Of::Ratio, Bound::AtMost(1.1)),
    wanted("backup.latency", Of::Ratio, Bound::AtMost(1.2)),
    wanted("archive.import.restic", Of::Ratio, Bound::AtLeast(1.5)),
    wanted("archive.restore.restic", Of::Ratio, Bound::AtLeast(1.5)),
    wanted("archive.size.restic", Of::Ratio, Bound::AtMost(1.0)),
    wanted("archive.import.borg", Of::Ratio, Bound::AtLeast(1.5)),
    wanted("archive.restore.borg", Of::Ratio, Bound::AtLeast(1.5)),
    wanted("archive.size.borg", Of::Ratio, Bound::AtMost(1.0)),
];

/// Four significant digits; more would pretend to a precision that no round has.
fn round(value: f64) -> f64 {
    if value == 0.0 || !value.is_finite() {
        return value;
    }
    let scale = 10f64.powf(3.0 - value.abs().log10().floor());
    (value * scale).round() / scale
}

/// The rows as a table for people.
pub fn table(rows: &[Row]) -> String {
    let text = |value: Option<f64>| value.map_or_else(|| "-".into(), |value| value.to_string());
    let mut cells =
        vec![["row", "value", "unit", "ratio", "wanted", "", "against"].map(String::from)];
    for row in rows {
        let (wanted, verdict) = match row.verdict() {
            Some((wanted, true)) => (wanted.to_string(), "ok"),
            Some((wanted, false)) => (wanted.to_string(), "below"),
            None => (String::new(), ""),
        };
        let reason = row.reason.as_ref().map(|reason| format!("not measured: {reason}"));
        cells.push([
            row.name.clone(),
            text(row.value),
            row.unit.into(),
            text(row.ratio),
            wanted,
            verdict.into(),
            reason.or_else(|| row.against.clone()).unwrap_or_default(),
        ]);
    }
    let width =
        |column: usize| cells.iter().map(|line| line[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..7).map(width).collect();
    let mut out = String::new();
    for line in &cells {
        let [name, value, unit, ratio, wanted, verdict, against] = line;
        let text = format!(
            "{name:<w0$}  {value:>w1$} {unit:<w2$}  {ratio:>w3$}  {wanted:<w4$} {verdict:<w5$}  {against}",
            w0 = widths[0],
            w1 = widths[1],
            w2 = widths[2],
            w3 = widths[3],
            w4 = widths[4],
            w5 = widths[5],
        );
        out.push_str(text.trim_end());
        out.push('\n');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_threshold_on_the_ratio_looks_at_the_ratio_and_one_on_the_value_at_the_value() {
        assert!(Row::beside("get.veth", 1.0, "requests/s", 0.951, "x").verdict().unwrap().1);
        assert!(!Row::beside("get.veth", 99.0, "requests/s", 0.949, "x").verdict().unwrap().1);
        assert!(Row::alone("wake", 10.0, "ms").verdict().unwrap().1);
        assert!(!Row::alone("wake", 10.1, "ms").verdict().unwrap().1);
        assert!(Row::alone("connect.veth", 1.0, "connections/s").verdict().is_none());
    }

    #[test]
    fn a_row_that_was_not_measured_never_passes_and_says_why() {
        let row = Row::missing("wake", "ms", "no server");
        assert!(!row.verdict().unwrap().1);
        let json = serde_json::to_value(&row).unwrap();
        assert!(json["value"].is_null());
        assert_eq!(json["reason"], "no server");
        assert!(table(&[row]).contains("not measured: no server"));
    }

    #[test]
    fn a_measured_row_has_the_five_members_that_readers_expect() {
        let json = serde_json::to_value(Row::beside("a", 12.345_67, "u", 0.5, "p")).unwrap();
        let names: Vec<_> = json.as_object().unwrap().keys().cloned().collect();
        assert_eq!(
            names,
            ["name", "value", "unit", "ratio", "against"]
                .map(String::from)
                .to_vec()
                .into_iter()
                .collect::<std::collections::BTreeSet<_>>()
                .into_iter()
                .collect::<Vec<_>>()
        );
        assert_eq!(json["value"], 12.35);
    }
}
