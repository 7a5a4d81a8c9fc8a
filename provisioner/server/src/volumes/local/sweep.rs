//! What nobody goes on with that a killed process has left: parts of masters, and sockets.
//!
//! The job that fetched a master ended with its process, and its next one begins anew. Nothing is swept that
//! another process holds, nor of what is no part of ours: where the directory of masters is away, or is
//! not marked, nothing is looked for in what is there in its place. Notes of guests that may stand still
//! are no leftovers ([`super::left`]).

use mezame_images::storage_daemon;

use super::Local;

impl Local {
    pub(super) fn sweep_now(&self) {
        if let Err(error) = storage_daemon::sweep(&self.run) {
            let run = self.run.display();
            tracing::warn!(%run, %error, "sockets of daemons that are gone are left");
        }
        if self.masters_id().is_err() {
            return;
        }
        match self.masters().and_then(|masters| Ok(masters.sweep()?)) {
            Ok(swept) => {
                for master in swept {
                    tracing::info!(%master, "what a killed process had left of a master is removed");
                }
            }
            Err(error) => {
                tracing::warn!(error = error.message, "parts of masters are left");
            }
        }
    }
}
