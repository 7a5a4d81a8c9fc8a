//! The database's tables, version by version.
//!
//! `user_version` counts the steps that were run, each in a transaction of its own;
//! `application_id` marks the file as Mezame's. A step is never changed once released: a later
//! form is a further step.

use std::path::Path;

use rusqlite::Connection;

use super::StoreError;

/// "MZME".
const APPLICATION_ID: i32 = 0x4d5a_4d45;

/// One step a version; the first makes an empty database into version 1.
const STEPS: &[&str] = &[
    "
    CREATE TABLE head (
        only INTEGER PRIMARY KEY CHECK (only = 1),
        generation INTEGER NOT NULL,
        -- All events after this generation are kept.
        complete_after INTEGER NOT NULL,
        site BLOB
    ) STRICT;
    INSERT INTO head VALUES (1, 0, 0, NULL);
    CREATE TABLE resource (
        kind TEXT NOT NULL,
        project TEXT NOT NULL,
        name TEXT NOT NULL,
        revision INTEGER NOT NULL,
        body BLOB NOT NULL,
        PRIMARY KEY (kind, project, name)
    ) STRICT;
    CREATE TABLE observed (
        instance TEXT PRIMARY KEY,
        body BLOB NOT NULL
    ) STRICT;
    CREATE TABLE said (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        -- 'report' or 'password'.
        what TEXT NOT NULL,
        instance TEXT NOT NULL,
        at_ms INTEGER NOT NULL,
        body BLOB NOT NULL
    ) STRICT;
    CREATE INDEX said_by ON said (instance, what, id);
    CREATE TABLE event_key (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        key BLOB NOT NULL UNIQUE
    ) STRICT;
    CREATE TABLE event (
        position INTEGER PRIMARY KEY AUTOINCREMENT,
        generation INTEGER NOT NULL,
        body TEXT NOT NULL
    ) STRICT;
    CREATE INDEX event_generation ON event (generation, position);
",
    "
    -- Whose password it is. None in those from before, which therefore stay as many as they are.
    ALTER TABLE said ADD COLUMN user TEXT;
",
    "
    -- From here on rows of 'resource' may be of the kind 'Volume', which earlier versions can't read.
",
    "
    -- The same of the kind 'Schedule'.
",
];

/// Brings the database to the newest version, or says why it can't be.
pub(super) fn migrate(connection: &mut Connection, path: &Path) -> Result<(), StoreError> {
    migrate_by(connection, path, STEPS)
}

fn migrate_by(connection: &mut Connection, path: &Path, steps: &[&str]) -> Result<(), StoreError> {
    let at = |source| StoreError::Database { path: path.into(), source };
    let known = u32::try_from(steps.len()).unwrap_or(u32::MAX);
    let found: u32 =
        connection.pragma_query_value(None, "user_version", |r| r.get(0)).map_err(at)?;
    let id: i32 =
        connection.pragma_query_value(None, "application_id", |r| r.get(0)).map_err(at)?;
    let tables: u32 = connection
        .query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))
        .map_err(at)?;
    if id != APPLICATION_ID && (tables > 0 || found > 0) {
        return Err(StoreError::Foreign { path: path.into() });
    }
    if found > known {
        return Err(StoreError::NewerSchema { path: path.into(), found, known });
    }
    for (version, step) in (1u32..).zip(steps).skip(found as usize) {
        let transaction = connection.transaction().map_err(at)?;
        transaction.execute_batch(step).map_err(at)?;
        transaction.pragma_update(None, "application_id", APPLICATION_ID).map_err(at)?;
        transaction.pragma_update(None, "user_version", version).map_err(at)?;
        transaction.commit().map_err(at)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn version(connection: &Connection) -> u32 {
        connection.pragma_query_value(None, "user_version", |row| row.get(0)).unwrap()
    }

    #[test]
    fn an_empty_database_gets_all_steps_and_a_second_run_changes_nothing() {
        let mut connection = Connection::open_in_memory().unwrap();
        let path = Path::new("x");
        migrate(&mut connection, path).unwrap();
        assert_eq!(version(&connection) as usize, STEPS.len());
        connection.execute("UPDATE head SET generation = 7", []).unwrap();
        migrate(&mut connection, path).unwrap();
        let kept: u64 =
            connection.query_row("SELECT generation FROM head", [], |row| row.get(0)).unwrap();
        assert_eq!(kept, 7);
    }

    #[test]
    fn a_later_step_is_added_to_an_older_database_and_keeps_its_rows() {
        let mut connection = Connection::open_in_memory().unwrap();
        let path = Path::new("x");
        migrate(&mut connection, path).unwrap();
        connection.execute("UPDATE head SET generation = 7", []).unwrap();
        let more = [STEPS, &["ALTER TABLE head ADD COLUMN further TEXT"]].concat();
        migrate_by(&mut connection, path, &more).unwrap();
        assert_eq!(version(&connection) as usize, STEPS.len() + 1);
        let kept: (u64, Option<String>) = connection
            .query_row("SELECT generation, further FROM head", [], |r| Ok((r.get(0)?, r.get(1)?)))
            .unwrap();
        assert_eq!(kept, (7, None));
    }

    #[test]
    fn a_step_that_fails_leaves_the_version_before_it() {
        let mut connection = Connection::open_in_memory().unwrap();
        let path = Path::new("x");
        migrate(&mut connection, path).unwrap();
        let broken = [STEPS, &["CREATE TABLE fresh (a); SELECT nonsense FROM nowhere"]].concat();
        assert!(migrate_by(&mut connection, path, &broken).is_err());
        assert_eq!(version(&connection) as usize, STEPS.len());
        assert!(connection.query_row("SELECT count(*) FROM fresh", [], |_| Ok(())).is_err());
    }

    #[test]
    fn a_newer_schema_and_a_foreign_database_are_refused_and_left_alone() {
        let mut connection = Connection::open_in_memory().unwrap();
        let path = Path::new("x");
        migrate(&mut connection, path).unwrap();
        connection.pragma_update(None, "user_version", 99).unwrap();
        let refused = migrate(&mut connection, path).unwrap_err();
        assert!(matches!(refused, StoreError::NewerSchema { found: 99, .. }));
        assert_eq!(version(&connection), 99);

        let mut foreign = Connection::open_in_memory().unwrap();
        foreign.execute_batch("CREATE TABLE theirs (a)").unwrap();
        assert!(matches!(migrate(&mut foreign, path), Err(StoreError::Foreign { .. })));
    }
}
