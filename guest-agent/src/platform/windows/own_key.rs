//! The agent's own key in the registry: what other programs may read of its runs, and what it notes
//! for as long as the system runs.

use std::io;

use mezame_model::Report;

use super::registry::{Key, Registry};
use crate::platform::{PlatformError, Result};

/// The key.
const KEY: &str = r"SOFTWARE\Mezame\GuestAgent";
/// A key below it that goes with the next shutdown.
pub(super) const BOOT: &str = r"SOFTWARE\Mezame\GuestAgent\Boot";

/// The key that goes with the next shutdown, made where there is none.
pub(super) fn of_boot(registry: &Registry) -> io::Result<Key> {
    // First what lasts: a volatile key makes those on the way to it volatile, and nothing that
    // lasts can be made below them.
    registry.create(KEY, false)?;
    registry.create(BOOT, true)
}

fn failed(source: io::Error) -> PlatformError {
    PlatformError::File { path: format!(r"HKEY_LOCAL_MACHINE\{KEY}").into(), source }
}

/// A value that is another one in each boot: it stands in a key that no shutdown outlives.
pub(super) fn boot_id(registry: &Registry) -> Result<String> {
    let key = of_boot(registry).map_err(failed)?;
    if let Some(id) = key.text("Id").map_err(failed)? {
        return Ok(id);
    }
    let mut bytes = [0_u8; 16];
    getrandom::fill(&mut bytes).map_err(|_| failed(io::ErrorKind::Other.into()))?;
    let id: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    key.set_text("Id", &id).map_err(failed)?;
    Ok(id)
}

/// Tells other programs what a run has brought.
pub(super) fn show_run(registry: &Registry, report: &Report) -> Result<()> {
    let show = || -> io::Result<()> {
        let key = registry.create(KEY, false)?;
        key.set_text("Agent", &report.agent)?;
        key.set_text("InstanceId", report.instance_id.as_str())?;
        key.set_text("BootId", &report.boot_id)?;
        key.set_number("Run", report.run)?;
        let outcome = format!("{:?}", report.outcome).to_ascii_lowercase();
        key.set_text("Outcome", &outcome)?;
        key.flush()
    };
    show().map_err(failed)
}

/// Takes the key away.
pub(super) fn forget(registry: &Registry) -> Result<()> {
    registry.delete(KEY).map_err(failed)
}
