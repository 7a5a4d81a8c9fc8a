//! Reading from the database, and opening what is sealed.

use mezame_model::{Generation, InstanceId};
use rusqlite::{OptionalExtension, params};

use super::{Session, bound_to};
use crate::store::{Body, Contents, EventPage, From, Key, Position, Row, RowKind, StoreError};

impl Session {
    pub(super) fn load(&mut self) -> Result<Contents, StoreError> {
        let at = Self::failed(&self.path);
        let (generation, site): (u64, Option<Vec<u8>>) = self
            .connection
            .query_row("SELECT generation, site FROM head", [], |r| Ok((r.get(0)?, r.get(1)?)))
            .map_err(at)?;
        let site = site.map(|site| self.keys.open(&bound_to(&["site"]), &site)).transpose()?;
        let mut statement = self
            .connection
            .prepare("SELECT kind, project, name, revision, body FROM resource")
            .map_err(at)?;
        let mut found = statement.query([]).map_err(at)?;
        let mut rows = Vec::new();
        while let Some(row) = found.next().map_err(at)? {
            let text = |column| row.get_ref(column).map_err(at)?.as_str().map_err(|_| SPOILT_ROW);
            let (kind, project, name) = (text(0)?, text(1)?, text(2)?);
            let sealed = row.get_ref(4).map_err(at)?;
            let sealed = sealed.as_blob().map_err(|_| SPOILT_ROW)?;
            let body = self.keys.open(&bound_to(&["resource", kind, project, name]), sealed)?;
            let kind = RowKind::parse(kind).ok_or(SPOILT_ROW)?;
            rows.push(Row {
                key: Key { kind, project: project.into(), name: name.into() },
                revision: Generation(row.get(3).map_err(at)?),
                body,
            });
        }
        let mut statement =
            self.connection.prepare("SELECT instance, body FROM observed").map_err(at)?;
        let mut found = statement.query([]).map_err(at)?;
        let mut observed = Vec::new();
        while let Some(row) = found.next().map_err(at)? {
            let instance: String = row.get(0).map_err(at)?;
            let sealed: Vec<u8> = row.get(1).map_err(at)?;
            let body = self.keys.open(&bound_to(&["observed", &instance]), &sealed)?;
            let spoilt = |_| StoreError::Spoilt { what: "instance id" };
            observed.push((InstanceId::parse(&instance).map_err(spoilt)?, body));
        }
        Ok(Contents { generation: Generation(generation), site, rows, observed })
    }

    pub(super) fn events(&mut self, from: From, most: usize) -> Result<EventPage, StoreError> {
        let at = Self::failed(&self.path);
        let head = self.connection.query_row("SELECT complete_after FROM head", [], |r| r.get(0));
        let complete_after = Generation(head.map_err(at)?);
        let one = |sql: &str, value: u64| -> Result<Option<u64>, StoreError> {
            self.connection.query_row(sql, [value], |r| r.get(0)).optional().map_err(at)
        };
        let gone = |asked| StoreError::EventsGone { asked, oldest: complete_after };
        // AUTOINCREMENT never reuses a position, also not after all rows went.
        let end = one("SELECT seq + ?1 FROM sqlite_sequence WHERE name = 'event'", 1)?;
        let end = end.unwrap_or(1);
        let start = match from {
            From::After(asked) if asked < complete_after => return Err(gone(asked)),
            From::After(asked) => one(
                "SELECT position FROM event WHERE generation > ?1 ORDER BY generation, position \
                 LIMIT 1",
                // Beyond what SQLite can count nothing is newer; a caller may ask for any number.
                asked.0.min(i64::MAX.unsigned_abs()),
            )?
            .unwrap_or(end),
            From::Position(Position(position)) => {
                let first = one("SELECT position FROM event WHERE position >= ?1 LIMIT 1", 0)?;
                if position < first.unwrap_or(end) {
                    return Err(gone(Generation::ZERO));
                }
                position
            }
        };
        let mut statement = self
            .connection
            .prepare_cached(
                "SELECT position, body FROM event WHERE position >= ?1 ORDER BY position LIMIT ?2",
            )
            .map_err(at)?;
        let mut found =
            statement.query(params![start, i64::try_from(most).unwrap_or(i64::MAX)]).map_err(at)?;
        let mut page = EventPage { events: Vec::new(), next: Position(start) };
        while let Some(row) = found.next().map_err(at)? {
            let position: u64 = row.get(0).map_err(at)?;
            let body: String = row.get(1).map_err(at)?;
            let spoilt = |_| StoreError::Spoilt { what: "event" };
            page.events.push(serde_json::from_str(&body).map_err(spoilt)?);
            page.next = Position(position + 1);
        }
        Ok(page)
    }

    pub(super) fn said(
        &mut self,
        what: &'static str,
        of: &InstanceId,
    ) -> Result<Vec<(u64, Body)>, StoreError> {
        let at = Self::failed(&self.path);
        let mut statement = self
            .connection
            .prepare_cached(
                "SELECT at_ms, body FROM said WHERE instance = ?1 AND what = ?2 ORDER BY id DESC",
            )
            .map_err(at)?;
        let mut found = statement.query(params![of.as_str(), what]).map_err(at)?;
        let mut said = Vec::new();
        while let Some(row) = found.next().map_err(at)? {
            let sealed: Vec<u8> = row.get(1).map_err(at)?;
            let body = self.keys.open(&bound_to(&["said", what, of.as_str()]), &sealed)?;
            said.push((row.get(0).map_err(at)?, body));
        }
        Ok(said)
    }
}

const SPOILT_ROW: StoreError = StoreError::Spoilt { what: "resource" };
