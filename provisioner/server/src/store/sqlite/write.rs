//! Writing to the database: one transaction a batch.

use std::path::Path;

use mezame_model::{Generation, InstanceId, UserName, api::Event};
use rusqlite::{Connection, ToSql, Transaction, TransactionBehavior};

use super::{Session, bound_to};
use crate::{
    environment::Environment,
    sealing::Keyring,
    store::{
        Batch, Committed, EVENTS_KEPT, KEY_REQUESTS_KEPT, KEYS_KEPT, PASSWORD_USERS_KEPT,
        PASSWORDS_KEPT, REPORTS_KEPT, StoreError,
    },
};

impl Session {
    pub(super) fn commit(&mut self, batch: Batch) -> Result<Committed, StoreError> {
        let Self { connection, path, keys, environment } = self;
        let at = Self::failed(path);
        let transaction =
            connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(at)?;
        let turn = Turn { transaction, path, keys, environment: environment.as_ref() };
        if let Some(key) = batch.event_key
            && !turn.remember(key)?
        {
            return Ok(Committed::Seen);
        }
        let generation = turn.advance(batch.expected)?;
        turn.write_resources(&batch, generation)?;
        turn.write_said(&batch)?;
        turn.write_events(batch.events, generation)?;
        turn.transaction.commit().map_err(at)?;
        Ok(Committed::Written(generation))
    }
}

/// One transaction; dropped before its end, it leaves nothing.
struct Turn<'t> {
    transaction: Transaction<'t>,
    path: &'t Path,
    keys: &'t Keyring,
    environment: &'t dyn Environment,
}

impl Turn<'_> {
    fn run(&self, sql: &str, parameters: &[&dyn ToSql]) -> Result<usize, StoreError> {
        self.transaction
            .prepare_cached(sql)
            .and_then(|mut statement| statement.execute(parameters))
            .map_err(Session::failed(self.path))
    }

    fn seal(&self, parts: &[&str], body: &[u8]) -> Result<Vec<u8>, StoreError> {
        Ok(self.keys.seal(&bound_to(parts), body, self.environment)?)
    }

    /// Notes a guest's event, and whether it is new; the oldest go.
    fn remember(&self, key: u128) -> Result<bool, StoreError> {
        let key = key.to_be_bytes();
        let added =
            self.run("INSERT OR IGNORE INTO event_key (key) VALUES (?1)", &[&key.as_slice()])?;
        if added == 0 {
            return Ok(false);
        }
        let last_gone = self.transaction.last_insert_rowid() - count(KEYS_KEPT);
        self.run("DELETE FROM event_key WHERE id <= ?1", &[&last_gone])?;
        Ok(true)
    }

    /// Goes on to the next generation, if the one now is what the batch was worked out from.
    fn advance(&self, expected: Generation) -> Result<Generation, StoreError> {
        let actual: u64 = self
            .transaction
            .query_row("SELECT generation FROM head", [], |row| row.get(0))
            .map_err(Session::failed(self.path))?;
        if expected.0 != actual {
            return Err(StoreError::Conflict { expected, actual: Generation(actual) });
        }
        let generation = expected.next();
        self.run("UPDATE head SET generation = ?1", &[&generation.0])?;
        Ok(generation)
    }

    fn write_resources(&self, batch: &Batch, generation: Generation) -> Result<(), StoreError> {
        for key in &batch.deletes {
            self.run(
                "DELETE FROM resource WHERE kind = ?1 AND project = ?2 AND name = ?3",
                &[&key.kind.as_str(), &key.project, &key.name],
            )?;
        }
        for (key, body) in &batch.puts {
            let kind = key.kind.as_str();
            let sealed = self.seal(&["resource", kind, &key.project, &key.name], body)?;
            self.run(
                "INSERT INTO resource (kind, project, name, revision, body) \
                 VALUES (?1, ?2, ?3, ?4, ?5) \
                 ON CONFLICT DO UPDATE SET revision = excluded.revision, body = excluded.body",
                &[&kind, &key.project, &key.name, &generation.0, &sealed],
            )?;
        }
        if let Some(site) = &batch.site {
            self.run("UPDATE head SET site = ?1", &[&self.seal(&["site"], site)?])?;
        }
        Ok(())
    }

    /// What guests said, after what is forgotten of those that are gone.
    fn write_said(&self, batch: &Batch) -> Result<(), StoreError> {
        for id in &batch.forget {
            self.run("DELETE FROM observed WHERE instance = ?1", &[&id.as_str()])?;
            self.run("DELETE FROM said WHERE instance = ?1", &[&id.as_str()])?;
        }
        for (id, body) in &batch.observed {
            self.run(
                "INSERT INTO observed (instance, body) VALUES (?1, ?2) \
                 ON CONFLICT DO UPDATE SET body = excluded.body",
                &[&id.as_str(), &self.seal(&["observed", id.as_str()], body)?],
            )?;
        }
        for (id, at_ms, body) in &batch.reports {
            self.add_said("report", id, None, *at_ms, body)?;
            self.keep_newest("report", id, REPORTS_KEPT)?;
        }
        for (id, user, at_ms, body) in &batch.passwords {
            self.add_said("password", id, Some(user), *at_ms, body)?;
            self.keep_passwords(id)?;
        }
        for (id, at_ms, trail, body) in &batch.key_requests {
            self.add_said(trail.as_str(), id, None, *at_ms, body)?;
            self.keep_newest(trail.as_str(), id, KEY_REQUESTS_KEPT)?;
        }
        Ok(())
    }

    fn add_said(
        &self,
        what: &str,
        id: &InstanceId,
        user: Option<&UserName>,
        at_ms: u64,
        body: &[u8],
    ) -> Result<(), StoreError> {
        let sealed = self.seal(&["said", what, id.as_str()], body)?;
        let at_ms = i64::try_from(at_ms).unwrap_or(i64::MAX);
        let user = user.map(UserName::as_str);
        self.run(
            "INSERT INTO said (what, instance, user, at_ms, body) VALUES (?1, ?2, ?3, ?4, ?5)",
            &[&what, &id.as_str(), &user, &at_ms, &sealed],
        )?;
        Ok(())
    }

    fn keep_newest(&self, what: &str, id: &InstanceId, most: usize) -> Result<(), StoreError> {
        self.run(
            "DELETE FROM said WHERE instance = ?1 AND what = ?2 AND id <= \
             (SELECT id FROM said WHERE instance = ?1 AND what = ?2 \
              ORDER BY id DESC LIMIT 1 OFFSET ?3)",
            &[&id.as_str(), &what, &count(most)],
        )?;
        Ok(())
    }

    /// Keeps the newest passwords, and each user's newest.
    fn keep_passwords(&self, id: &InstanceId) -> Result<(), StoreError> {
        self.run(
            "DELETE FROM said WHERE instance = ?1 AND what = 'password' AND user IS NOT NULL \
             AND id NOT IN (SELECT id FROM said WHERE instance = ?1 AND what = 'password' \
                            ORDER BY id DESC LIMIT ?2) \
             AND id NOT IN (SELECT max(id) FROM said WHERE instance = ?1 \
                            AND what = 'password' AND user IS NOT NULL \
                            GROUP BY user ORDER BY max(id) DESC LIMIT ?3)",
            &[&id.as_str(), &count(PASSWORDS_KEPT), &count(PASSWORD_USERS_KEPT)],
        )?;
        Ok(())
    }

    fn write_events(&self, events: Vec<Event>, generation: Generation) -> Result<(), StoreError> {
        // Of a batch longer than what is kept, the beginning would be deleted at once.
        let skipped = events.len().saturating_sub(EVENTS_KEPT);
        for mut event in events.into_iter().skip(skipped) {
            event.generation = generation;
            let body =
                serde_json::to_string(&event).map_err(|_| StoreError::Spoilt { what: "event" })?;
            self.run(
                "INSERT INTO event (generation, body) VALUES (?1, ?2)",
                &[&generation.0, &body],
            )?;
        }
        forget_events(&self.transaction, (skipped > 0).then_some(generation))
            .map_err(Session::failed(self.path))
    }
}

/// As SQLite counts.
fn count(number: usize) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// Drops the oldest events beyond what is kept, and notes from where on all are there.
fn forget_events(
    connection: &Connection,
    cut_short: Option<Generation>,
) -> Result<(), rusqlite::Error> {
    let newest: Option<i64> =
        connection.query_row("SELECT max(position) FROM event", [], |row| row.get(0))?;
    let last_gone = newest.unwrap_or(0) - count(EVENTS_KEPT);
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
