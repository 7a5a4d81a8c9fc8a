//! The audit trail: one line for each secret that is handed out, with who and what, never the
//! value. Target `audit` of tracing, so that it can be kept apart from the log.

use mezame_model::{InstanceId, PortId};
use mezame_protocol::Audit;

/// Writes the line.
pub fn handed_out(port: &PortId, instance: &InstanceId, audit: &Audit) {
    match audit {
        Audit::PasswordHashes(users) => {
            tracing::info!(
                target: "audit", %port, %instance, what = "password-hashes", users = ?users,
                "secret handed out"
            );
        }
        Audit::Secret(name) => {
            tracing::info!(
                target: "audit", %port, %instance, what = "secret", secret = %name,
                "secret handed out"
            );
        }
    }
}
