//! How this hypervisor reaches LUNs: its name, its secrets, and where QEMU's programs may have sockets.

use std::{
    fmt,
    path::{Path, PathBuf},
    process,
    sync::atomic::{AtomicU64, Ordering},
};

use serde_json::{Value, json};

use super::{ChapSecret, ChapUser, InitiatorName, IscsiName, Lun, LunError};
use crate::{
    encryption::{VolumeKeys, secret::Secrets},
    storage_daemon::StorageDaemon,
};

/// How LUNs are reached from here.
#[derive(Clone)]
pub struct LunAccess {
    initiator: InitiatorName,
    keys: VolumeKeys,
    run: PathBuf,
}

/// What a LUN is opened for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    Read,
    Write,
}

impl LunAccess {
    /// As this initiator; sockets are made in `run`, which only we may enter.
    pub fn new(initiator: InitiatorName, run: &Path) -> Self {
        Self { initiator, keys: VolumeKeys::none(), run: run.into() }
    }

    /// With the secret of a user of a target.
    #[must_use]
    pub fn with(mut self, target: IscsiName, user: ChapUser, secret: ChapSecret) -> Self {
        self.keys = self.keys.with_account(target, user, secret);
        self
    }

    /// This hypervisor's name.
    pub fn initiator(&self) -> &InitiatorName {
        &self.initiator
    }

    /// Its secrets, as the keys that a volume on a LUN is opened with.
    pub fn keys(&self) -> &VolumeKeys {
        &self.keys
    }

    /// Opens all of a LUN, as it is, in a daemon of our own.
    pub(crate) fn open(&self, lun: &Lun, mode: Mode) -> Result<OpenLun, LunError> {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        // Its sockets are named so too, and others of ours may have other LUNs open.
        let name = format!("lun-{}-{}", process::id(), COUNT.fetch_add(1, Ordering::SeqCst));
        let secret = format!("{name}.chap");
        let secrets = Secrets::of_lun(&secret, lun, &self.keys)?;
        let mut file = lun.node(Some(&self.initiator), &secret);
        file["node-name"] = format!("{name}.file").into();
        let cache = json!({ "direct": true, "no-flush": false });
        let node: Value = json!({
            "driver": "raw", "node-name": name, "read-only": mode == Mode::Read,
            // What is made zeroes gives its space back, where the target can.
            "discard": "unmap", "cache": cache, "file": file,
        });
        let daemon = StorageDaemon::start_with(&node, &secrets, &self.run)
            .map_err(|source| LunError::Open { lun: Box::new(lun.clone()), source })?;
        Ok(OpenLun { daemon, node: name })
    }

    /// libiscsi's own programs get the secret from their environment, which only we may read.
    pub(crate) fn environment(
        &self,
        lun: &Lun,
    ) -> Result<Option<(&'static str, &'static str, String, &str)>, LunError> {
        let secret = self.keys.accounts().of(lun)?;
        Ok(lun.user().zip(secret).map(|(user, secret)| {
            let names = ("LIBISCSI_CHAP_USERNAME", "LIBISCSI_CHAP_PASSWORD");
            (names.0, names.1, user.to_string(), secret.expose())
        }))
    }
}

impl fmt::Debug for LunAccess {
    /// Without the secrets.
    fn fmt(&self, into: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = into.debug_struct("LunAccess");
        shown.field("initiator", &self.initiator).field("run", &self.run).finish_non_exhaustive()
    }
}

/// A LUN that a daemon of ours has open.
pub(crate) struct OpenLun {
    pub(crate) daemon: StorageDaemon,
    /// What its node is called there.
    pub(crate) node: String,
}
