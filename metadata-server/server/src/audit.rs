//! The audit trail: one line for each secret that is handed out, and for each volume's key that is
//! not, with who and what, never the value. Target `audit` of tracing, so that it can be kept apart
//! from the log.

use mezame_model::{InstanceId, KeyOutcome, KeyRequest, PortId, report::GuestEventKind};
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
        Audit::VolumeKey(volume) => {
            tracing::info!(
                target: "audit", %port, %instance, what = "volume-key", %volume,
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

/// Writes the line, if what the guest did is that it asked for a volume's key in vain.
pub fn withheld(port: &PortId, instance: &InstanceId, kind: &GuestEventKind) {
    if let GuestEventKind::VolumeKey(KeyRequest { volume, outcome, .. }) = kind
        && let KeyOutcome::Withheld(why) = outcome
    {
        tracing::info!(
            target: "audit", %port, %instance, what = "volume-key", %volume, why = why.code(),
            "secret withheld"
        );
    }
}
