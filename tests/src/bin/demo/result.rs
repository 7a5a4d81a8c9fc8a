//! What the demo shows in the end: a table for people, an object for programs.

use std::fmt::Write;

use serde::Serialize;

use crate::seed::Seed;

/// The whole of it; the last line of `--json`.
#[derive(Debug, Serialize)]
pub(crate) struct DemoResult {
    /// Everything is as it must be.
    pub(crate) ok: bool,
    /// Both guests.
    pub(crate) guests: Vec<GuestResult>,
    /// From the operator's command to the first login with a key that was added live.
    pub(crate) live_key_ms: u64,
}

/// What became of one guest.
#[derive(Debug, Serialize)]
pub(crate) struct GuestResult {
    /// The instance.
    pub(crate) name: String,
    /// Its network's.
    pub(crate) vni: u32,
    /// The same for both.
    pub(crate) ip: String,
    /// The same for both.
    pub(crate) mac: String,
    /// Its tenant's key opens it.
    pub(crate) ssh_own_key: bool,
    /// The other tenant's key opens it, which must not be.
    pub(crate) ssh_other_key: bool,
    /// Its password opens it, and the other tenant's doesn't.
    pub(crate) password_set: bool,
    /// The tenant's script left what it should.
    pub(crate) script_ran: bool,
    /// From the agent's first packet to the end of the configuration, scripts excluded.
    pub(crate) configured_ms: u64,
    /// What the script left.
    #[serde(skip)]
    pub(crate) script_output: String,
}

impl DemoResult {
    /// Judges the guests.
    pub(crate) fn new(guests: Vec<GuestResult>, live_key_ms: u64) -> Self {
        let ok = guests.len() == 2 && guests.iter().all(GuestResult::is_right);
        Self { ok, guests, live_key_ms }
    }
}

impl GuestResult {
    fn is_right(&self) -> bool {
        self.ssh_own_key && !self.ssh_other_key && self.password_set && self.script_ran
    }
}

/// The table.
pub(crate) fn table(result: &DemoResult, seed: &Seed) -> String {
    let header =
        ["guest", "VNI", "address", "key", "other's key", "password", "script output", "ms"];
    let mut rows: Vec<Vec<String>> = vec![header.map(str::to_owned).into()];
    for (guest, tenant) in result.guests.iter().zip(&seed.tenants) {
        let key = if guest.ssh_own_key { "opens" } else { "REFUSED" };
        let other = if guest.ssh_other_key { "OPENS" } else { "refused" };
        let password = if guest.password_set { "opens" } else { "NOT SET" };
        rows.push(vec![
            guest.name.clone(),
            tenant.vni.to_string(),
            format!("{} {}", guest.ip, guest.mac),
            key.into(),
            other.into(),
            password.into(),
            guest.script_output.clone(),
            guest.configured_ms.to_string(),
        ]);
    }
    let mut text = String::from("\n");
    for row in &rows {
        for (column, cell) in row.iter().enumerate() {
            let width = rows.iter().map(|row| row[column].len()).max().unwrap_or_default();
            // Writing to a String can't fail.
            let _ = write!(text, "{cell:width$}  ");
        }
        text.truncate(text.trim_end().len());
        text.push('\n');
    }
    let _ = write!(
        text,
        "\nms: from the agent's first packet to configured. A key that was added while {} ran \
         opened it {} ms after the operator's command.",
        result.guests.first().map_or("the guest", |guest| guest.name.as_str()),
        result.live_key_ms
    );
    text
}
