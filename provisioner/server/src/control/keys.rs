//! Rotation: of the keys that seal the database, and of those that seal session tokens.
//!
//! ```text
//! sealing keys:  file [old] ─save─► [new, old] ─re-seal all─► [new, old] ─save─► [new]
//! ```
//! After a crash anywhere the file has every key that some body needs; the next start finds two
//! keys in it and goes on re-sealing.

use std::{path::PathBuf, sync::Arc};

use super::{Control, ControlError, uncut};
use crate::{
    environment::{Environment, NoRandomness},
    sealing::{Keyring, SealingKey, key_file},
    state::Changes,
    store::{Batch, Store},
};

/// The keys that seal the database, and the file that they lie in.
pub(crate) struct SealingKeys {
    ring: Keyring,
    /// None for a store that lies on no disk.
    path: Option<PathBuf>,
}

impl SealingKeys {
    /// Keys that lie in a file.
    pub(crate) fn in_file(ring: Keyring, path: PathBuf) -> Self {
        Self { ring, path: Some(path) }
    }

    /// Keys that are forgotten with the process.
    pub(crate) fn in_memory(environment: &dyn Environment) -> Result<Self, NoRandomness> {
        Ok(Self { ring: Keyring::of(SealingKey::make(1, environment)?), path: None })
    }

    /// Goes on with a rotation that was cut short.
    pub(crate) async fn finish_rotation(&self, store: &dyn Store) -> Result<(), ControlError> {
        if self.ring.keys().len() > 1 {
            tracing::info!("going on with a rotation of the sealing keys that was cut short");
            store.reseal(self.ring.clone()).await?;
            self.save(&self.ring.newest())?;
        }
        Ok(())
    }

    async fn rotate(
        &mut self,
        store: &dyn Store,
        environment: &dyn Environment,
    ) -> Result<(), ControlError> {
        self.ring = self.ring.with(SealingKey::make(self.ring.current() + 1, environment)?);
        self.save(&self.ring)?;
        store.reseal(self.ring.clone()).await?;
        self.ring = self.ring.newest();
        self.save(&self.ring)?;
        Ok(())
    }

    fn save(&self, ring: &Keyring) -> Result<(), ControlError> {
        if let Some(path) = &self.path {
            key_file::save(path, ring)?;
        }
        Ok(())
    }
}

impl Control {
    /// Makes a new sealing key and seals everything with it. Writes wait meanwhile.
    pub(crate) async fn rotate_sealing_key(self: &Arc<Self>) -> Result<(), ControlError> {
        let control = Arc::clone(self);
        uncut(async move {
            let mut keys = control.turn.lock().await;
            keys.rotate(&*control.store, &*control.environment).await
        })
        .await
    }

    /// Makes a new token key; older ones stay while a token of theirs can live.
    pub(crate) async fn rotate_token_key(self: &Arc<Self>) -> Result<(), ControlError> {
        let control = Arc::clone(self);
        uncut(async move {
            let _turn = control.turn.lock().await;
            let site = control.state().site.rotated(&*control.environment)?;
            let changes = Changes { site: Some(site), ..Changes::default() };
            control.commit(changes, Batch::default()).await.map(drop)
        })
        .await
    }

    /// Does what is due to the token keys: a rotation, or the removal of old ones.
    pub(crate) async fn tend_token_keys(
        self: &Arc<Self>,
        rotation_ms: u64,
    ) -> Result<(), ControlError> {
        let control = Arc::clone(self);
        uncut(async move {
            let _turn = control.turn.lock().await;
            let now = control.environment.now_ms();
            let site = {
                let state = control.state();
                if state.site.rotation_due_ms(rotation_ms) <= now {
                    Some(state.site.rotated(&*control.environment)?)
                } else {
                    state.site.pruned(now)
                }
            };
            if site.is_some() {
                let changes = Changes { site, ..Changes::default() };
                control.commit(changes, Batch::default()).await?;
            }
            Ok(())
        })
        .await
    }

    /// How long until the token keys are to be tended, in milliseconds.
    pub(crate) fn token_keys_due_in_ms(&self, rotation_ms: u64) -> u64 {
        let due = self.state().site.next_due_ms(rotation_ms);
        due.saturating_sub(self.environment.now_ms())
    }
}
