//! Writing to the database: one transaction a batch, and re-sealing in steps.

use mezame_model::{Generation, InstanceId};
use rusqlite::{Connection, OptionalExtension, TransactionBehavior, params};

use super::{Session, bound_to};
use crate::{
    sealing::{Keyring, key_number},
    store::{
        Batch, Committed, EVENTS_KEPT, KEY_REQUESTS_KEPT, KEYS_KEPT, PASSWORD_USERS_KEPT,
        PASSWORDS_KEPT, REPORTS_KEPT, StoreError,
    },
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
    pub(super) fn commit(&mut self, batch: Batch) -> Result<Committed, StoreError> {
        let Self { connection, path, keys, environment } = self;
        let at = Self::failed(path);
        let seal = |parts: &[&str], body: &[u8]| {
            keys.seal(&bound_to(parts), body, environment.as_ref()).map_err(StoreError::from)
        };
        let transaction =
            connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(at)?;
        let run = |sql: &str, parameters: &[&dyn rusqlite::ToSql]| -> Result<usize, StoreError> {
            transaction.prepare_cached(sql).and_then(|mut s| s.execute(parameters)).map_err(at)
        };
        if let Some(key) = batch.event_key {
            let added = run(
                "INSERT OR IGNORE INTO event_key (key) VALUES (?1)",
                &[&key.to_be_bytes().as_slice()],
            )?;
            if added == 0 {
                return Ok(Committed::Seen);
            }
            let newest = transaction.last_insert_rowid();
            let kept = i64::try_from(KEYS_KEPT).unwrap_or(i64::MAX);
            run("DELETE FROM event_key WHERE id <= ?1", &[&(newest - kept)])?;
        }
        let actual: u64 = transaction
            .query_row("SELECT generation FROM head", [], |row| row.get(0))
            .map_err(at)?;
        if batch.expected.0 != actual {
            let (expected, actual) = (batch.expected, Generation(actual));
            return Err(StoreError::Conflict { expected, actual });
        }
        let generation = batch.expected.next();
        run("UPDATE head SET generation = ?1", &[&generation.0])?;
        for key in &batch.deletes {
            run(
                "DELETE FROM resource WHERE kind = ?1 AND project = ?2 AND name = ?3",
                &[&key.kind.as_str(), &key.project, &key.name],
            )?;
        }
        for (key, body) in &batch.puts {
            let sealed = seal(&["resource", key.kind.as_str(), &key.project, &key.name], body)?;
            run(
                "INSERT INTO resource (kind, project, name, revision, body) \
                 VALUES (?1, ?2, ?3, ?4, ?5) \
                 ON CONFLICT DO UPDATE SET revision = excluded.revision, body = excluded.body",
                &[&key.kind.as_str(), &key.project, &key.name, &generation.0, &sealed],
            )?;
        }
        if let Some(site) = &batch.site {
            run("UPDATE head SET site = ?1", &[&seal(&["site"], site)?])?;
        }
        for id in &batch.forget {
            run("DELETE FROM observed WHERE instance = ?1", &[&id.as_str()])?;
            run("DELETE FROM said WHERE instance = ?1", &[&id.as_str()])?;
        }
        for (id, body) in &batch.observed {
            run(
                "INSERT INTO observed (instance, body) VALUES (?1, ?2) \
                 ON CONFLICT DO UPDATE SET body = excluded.body",
                &[&id.as_str(), &seal(&["observed", id.as_str()], body)?],
            )?;
        }
        let said = |what: &str, most: usize, id: &InstanceId, at_ms: u64, body: &[u8]| {
            let sealed = seal(&["said", what, id.as_str()], body)?;
            run(
                "INSERT INTO said (what, instance, at_ms, body) VALUES (?1, ?2, ?3, ?4)",
                &[&what, &id.as_str(), &i64::try_from(at_ms).unwrap_or(i64::MAX), &sealed],
            )?;
            run(
                "DELETE FROM said WHERE instance = ?1 AND what = ?2 AND id <= \
                 (SELECT id FROM said WHERE instance = ?1 AND what = ?2 \
                  ORDER BY id DESC LIMIT 1 OFFSET ?3)",
                &[&id.as_str(), &what, &i64::try_from(most).unwrap_or(i64::MAX)],
            )
        };
        for (id, at_ms, body) in &batch.reports {
            said("report", REPORTS_KEPT, id, *at_ms, body)?;
        }
        for (id, user, at_ms, body) in &batch.passwords {
            let sealed = seal(&["said", "password", id.as_str()], body)?;
            run(
                "INSERT INTO said (what, instance, user, at_ms, body) \
                 VALUES ('password', ?1, ?2, ?3, ?4)",
                &[
                    &id.as_str(),
                    &user.as_str(),
                    &i64::try_from(*at_ms).unwrap_or(i64::MAX),
                    &sealed,
                ],
            )?;
            run(
                "DELETE FROM said WHERE instance = ?1 AND what = 'password' AND user IS NOT NULL \
                 AND id NOT IN (SELECT id FROM said WHERE instance = ?1 AND what = 'password' \
                                ORDER BY id DESC LIMIT ?2) \
                 AND id NOT IN (SELECT max(id) FROM said WHERE instance = ?1 \
                                AND what = 'password' AND user IS NOT NULL \
                                GROUP BY user ORDER BY max(id) DESC LIMIT ?3)",
                &[
                    &id.as_str(),
                    &i64::try_from(PASSWORDS_KEPT).unwrap_or(i64::MAX),
                    &i64::try_from(PASSWORD_USERS_KEPT).unwrap_or(i64::MAX),
                ],
            )?;
        }
        for (id, at_ms, trail, body) in &batch.key_requests {
            said(trail.as_str(), KEY_REQUESTS_KEPT, id, *at_ms, body)?;
        }
        // Of a batch longer than what is kept, the beginning would be deleted at once.
        let skipped = batch.events.len().saturating_sub(EVENTS_KEPT);
        for mut event in batch.events.into_iter().skip(skipped) {
            event.generation = generation;
            let body =
                serde_json::to_string(&event).map_err(|_| StoreError::Spoilt { what: "event" })?;
            run("INSERT INTO event (generation, body) VALUES (?1, ?2)", &[&generation.0, &body])?;
        }
        forget_events(&transaction, (skipped > 0).then_some(generation)).map_err(at)?;
        transaction.commit().map_err(at)?;
        Ok(Committed::Written(generation))
    }

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

/// Drops the oldest events beyond what is kept, and notes from where on all are there.
fn forget_events(
    connection: &Connection,
    cut_short: Option<Generation>,
) -> Result<(), rusqlite::Error> {
    let newest: Option<i64> =
        connection.query_row("SELECT max(position) FROM event", [], |row| row.get(0))?;
    let kept = i64::try_from(EVENTS_KEPT).unwrap_or(i64::MAX);
    let last_gone = newest.unwrap_or(0) - kept;
    let gone: Option<u64> = connection.query_row(
        "SELECT max(generation) FROM event WHERE position <= ?1",
        [last_gone],
        |row| row.get(0),
    )?;
    let gone = gone.max(cut_short.map(|generation| generation.0));
    if let Some(generation) = gone {
        connection.execute("DELETE FROM event WHERE position <= ?1", [last_gone])?;
        connection
            .execute("UPDATE head SET complete_after = max(complete_after, ?1)", [generation])?;
    }
    Ok(())
}
