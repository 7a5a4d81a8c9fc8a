//! Sealing everything anew with the newest key, in steps.

use rusqlite::{OptionalExtension, TransactionBehavior, params};

use super::{Session, bound_to};
use crate::{
    sealing::{Keyring, key_number},
    store::StoreError,
};

/// How many bodies are sealed anew in one transaction: readers and writers wait no longer.
const RESEALED_AT_ONCE: usize = 2000;

/// The tables that have sealed bodies, and what names a row of each in its seal.
const SEALED: [(&str, &str, &str); 3] = [
    (
        "SELECT rowid, body, 'resource' || char(0) || kind || char(0) || project || char(0) || name \
         FROM resource WHERE rowid > ?1 ORDER BY rowid",
        "UPDATE resource SET body = ?2 WHERE rowid = ?1",
        "resource",
    ),
    (
        "SELECT rowid, body, 'observed' || char(0) || instance FROM observed WHERE rowid > ?1 \
         ORDER BY rowid",
        "UPDATE observed SET body = ?2 WHERE rowid = ?1",
        "observation",
    ),
    (
        "SELECT rowid, body, 'said' || char(0) || what || char(0) || instance FROM said \
         WHERE rowid > ?1 ORDER BY rowid",
        "UPDATE said SET body = ?2 WHERE rowid = ?1",
        "report",
    ),
];

impl Session {
    /// Goes through all bodies and seals those anew that have an older key. Each step is a
    /// transaction, so a crash loses no more than a step; bodies that are new already are passed.
    pub(super) fn reseal(&mut self, ring: Keyring) -> Result<(), StoreError> {
        self.keys = ring;
        let Self { connection, path, keys, environment } = self;
        let at = Self::failed(path);
        let fresh = |row: &[u8], sealed: &[u8]| -> Result<Option<Vec<u8>>, StoreError> {
            if key_number(sealed)? == keys.current() {
                return Ok(None);
            }
            Ok(Some(keys.seal(row, &keys.open(row, sealed)?, environment.as_ref())?))
        };
        let site: Option<Option<Vec<u8>>> = connection
            .query_row("SELECT site FROM head", [], |r| r.get(0))
            .optional()
            .map_err(at)?;
        if let Some(sealed) = site.flatten()
            && let Some(sealed) = fresh(&bound_to(&["site"]), &sealed)?
        {
            connection.execute("UPDATE head SET site = ?1", [sealed]).map_err(at)?;
        }
        for (select, update, what) in SEALED {
            let mut last = i64::MIN;
            loop {
                let transaction = connection
                    .transaction_with_behavior(TransactionBehavior::Immediate)
                    .map_err(at)?;
                let page: Vec<(i64, Vec<u8>, String)> = transaction
                    .prepare_cached(&format!("{select} LIMIT {RESEALED_AT_ONCE}"))
                    .and_then(|mut statement| {
                        statement
                            .query_map([last], |r| Ok((r.get(0)?, r.get(1)?, r.get(2)?)))?
                            .collect()
                    })
                    .map_err(at)?;
                let Some((end, ..)) = page.last() else { break };
                last = *end;
                for (id, sealed, row) in &page {
                    if let Some(sealed) = fresh(row.as_bytes(), sealed)? {
                        let changed = transaction
                            .prepare_cached(update)
                            .and_then(|mut s| s.execute(params![id, sealed]))
                            .map_err(at)?;
                        if changed != 1 {
                            return Err(StoreError::Spoilt { what });
                        }
                    }
                }
                transaction.commit().map_err(at)?;
            }
        }
        // What was sealed with the old key must not linger in the log.
        connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())).map_err(at)
    }
}
