//! What only a store on a disk has: its file, its lock, its seals, its crashes.

use std::time::Duration;

use mezame_model::{Generation, api::Kind};
use zeroize::Zeroizing;

use super::*;
use crate::{
    environment::fixed::FixedEnvironment,
    store::{
        Key, PASSWORDS_KEPT,
        contract::{ring, sqlite},
    },
};

fn put(expected: u64, name: &str, text: &str) -> Batch {
    let key = Key { kind: Kind::Instance.into(), project: "p".into(), name: name.into() };
    Batch {
        expected: Generation(expected),
        puts: vec![(key, Zeroizing::new(text.as_bytes().to_vec()))],
        ..Batch::default()
    }
}

async fn open(directory: &Path, keys: &[u8]) -> Result<SqliteStore, StoreError> {
    let path = directory.join("store.db");
    let environment = Arc::new(FixedEnvironment::new());
    SqliteStore::open(&path, ring(keys), environment, Duration::ZERO).await
}

/// All bytes of the database and its log.
fn bytes(directory: &Path) -> Vec<u8> {
    let files = std::fs::read_dir(directory).unwrap();
    files.flat_map(|file| std::fs::read(file.unwrap().path()).unwrap()).collect()
}

fn has(bytes: &[u8], text: &[u8]) -> bool {
    bytes.windows(text.len()).any(|window| window == text)
}

#[tokio::test]
async fn what_was_written_is_there_after_the_store_was_opened_again() {
    let directory = tempfile::tempdir().unwrap();
    let store = sqlite(directory.path()).await;
    store.commit(put(0, "a", "text")).await.unwrap();
    store.close().await;
    let contents = sqlite(directory.path()).await.load().await.unwrap();
    assert_eq!(contents.generation, Generation(1));
    assert_eq!(&**contents.rows[0].body, b"text");
}

#[tokio::test]
async fn a_password_from_before_the_database_knew_whose_it_is_stays() {
    let directory = tempfile::tempdir().unwrap();
    let store = sqlite(directory.path()).await;
    let id = mezame_model::InstanceId::parse("i-00000000000000001").unwrap();
    let of = |expected: u64, name: &str, count: usize| Batch {
        expected: Generation(expected),
        passwords: (0..count)
            .map(|_| (id.clone(), name.parse().unwrap(), 1, Zeroizing::new(name.into())))
            .collect(),
        ..Batch::default()
    };
    store.commit(of(0, "dev", 2)).await.unwrap();
    store.close().await;
    let direct = Connection::open(directory.path().join("store.db")).unwrap();
    direct.execute("UPDATE said SET user = NULL", []).unwrap();
    drop(direct);
    let store = sqlite(directory.path()).await;
    store.commit(of(1, "ops", 2 * PASSWORDS_KEPT)).await.unwrap();
    let kept = store.passwords(id).await.unwrap();
    assert_eq!(kept.len(), PASSWORDS_KEPT + 2);
    assert!(kept[PASSWORDS_KEPT..].iter().all(|(_, body)| ***body == *b"dev"));
}

#[tokio::test]
async fn a_body_lies_nowhere_in_the_files_in_the_clear() {
    let directory = tempfile::tempdir().unwrap();
    let store = sqlite(directory.path()).await;
    let mut batch = put(0, "visible-name", "hidden-record");
    let hidden = |text: &str| Zeroizing::new(text.as_bytes().to_vec());
    let id = mezame_model::InstanceId::parse("i-00000000000000001").unwrap();
    batch.site = Some(hidden("hidden-site"));
    batch.observed = vec![(id.clone(), hidden("hidden-observation"))];
    batch.reports = vec![(id.clone(), 1, hidden("hidden-report"))];
    batch.passwords = vec![(id, "ops".parse().unwrap(), 1, hidden("hidden-password"))];
    store.commit(batch).await.unwrap();
    let open = bytes(directory.path());
    for file in std::fs::read_dir(directory.path()).unwrap() {
        use std::os::unix::fs::PermissionsExt;
        let mode = file.unwrap().metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }
    // Otherwise the search itself would be wrong.
    assert!(has(&open, b"visible-name"));
    assert!(!has(&open, b"hidden"));
    store.close().await;
    assert!(!has(&bytes(directory.path()), b"hidden"));
}

#[tokio::test]
async fn a_second_process_is_kept_out_until_the_first_lets_go() {
    let directory = tempfile::tempdir().unwrap();
    let first = sqlite(directory.path()).await;
    assert!(matches!(open(directory.path(), &[1]).await, Err(StoreError::InUse { .. })));
    let path = directory.path().join("store.db");
    let environment = Arc::new(FixedEnvironment::new());
    let patience = Duration::from_secs(60);
    let second = tokio::spawn(async move {
        SqliteStore::open(&path, ring(&[1]), environment, patience).await.map(drop)
    });
    first.commit(put(0, "a", "text")).await.unwrap();
    first.close().await;
    second.await.unwrap().unwrap();
}

#[tokio::test]
async fn another_key_a_moved_row_and_a_newer_schema_are_refused() {
    let directory = tempfile::tempdir().unwrap();
    let store = sqlite(directory.path()).await;
    store.commit(put(0, "a", "one")).await.unwrap();
    store.commit(put(1, "b", "two")).await.unwrap();
    store.close().await;

    let other = open(directory.path(), &[2]).await.unwrap();
    let refused = other.load().await.unwrap_err();
    assert!(matches!(refused, StoreError::Seal(_)), "{refused}");
    other.close().await;

    let direct = Connection::open(directory.path().join("store.db")).unwrap();
    direct
        .execute(
            "UPDATE resource SET body = (SELECT body FROM resource WHERE name = 'b') \
             WHERE name = 'a'",
            [],
        )
        .unwrap();
    drop(direct);
    let moved = sqlite(directory.path()).await;
    let refused = moved.load().await.unwrap_err();
    assert!(matches!(refused, StoreError::Seal(crate::sealing::SealError::Forged)), "{refused}");
    moved.close().await;

    let direct = Connection::open(directory.path().join("store.db")).unwrap();
    direct.pragma_update(None, "user_version", 99).unwrap();
    drop(direct);
    let refused = open(directory.path(), &[1]).await.map(drop).unwrap_err();
    assert!(matches!(refused, StoreError::NewerSchema { found: 99, .. }), "{refused}");
}

#[tokio::test]
async fn resealing_goes_on_where_a_crash_cut_it_short() {
    let directory = tempfile::tempdir().unwrap();
    let store = sqlite(directory.path()).await;
    // More rows than one step takes, half of them sealed anew: a rotation that was killed.
    let mut batch = put(0, "x", "x");
    batch.puts = (0..3000)
        .map(|number| {
            let key = Key {
                kind: Kind::Instance.into(),
                project: "p".into(),
                name: format!("n{number}").into(),
            };
            (key, Zeroizing::new(format!("body {number}").into_bytes()))
        })
        .collect();
    store.commit(batch).await.unwrap();
    store.use_keys(ring(&[1, 2])).await.unwrap();
    let mut batch = put(1, "x", "x");
    batch.puts = (0..1500)
        .map(|number| {
            let key = Key {
                kind: Kind::Instance.into(),
                project: "p".into(),
                name: format!("n{number}").into(),
            };
            (key, Zeroizing::new(format!("body {number}").into_bytes()))
        })
        .collect();
    store.commit(batch).await.unwrap();
    store.close().await;

    let again = open(directory.path(), &[1, 2]).await.unwrap();
    assert_eq!(again.load().await.unwrap().rows.len(), 3000);
    again.reseal(ring(&[1, 2])).await.unwrap();
    again.close().await;
    // The old key is needed no more.
    let newest = open(directory.path(), &[2]).await.unwrap();
    let rows = newest.load().await.unwrap().rows;
    assert_eq!(rows.len(), 3000);
    assert!(rows.iter().all(|row| row.body.starts_with(b"body ")));
}

#[tokio::test]
async fn a_writer_that_is_killed_leaves_whole_batches_only() {
    // The database as a kill leaves it: main file and log copied while the store is open.
    let directory = tempfile::tempdir().unwrap();
    let store = sqlite(directory.path()).await;
    for generation in 0..20 {
        let mut batch = put(generation, "a", &format!("a{generation}"));
        batch.puts.extend(put(0, "b", &format!("b{generation}")).puts);
        store.commit(batch).await.unwrap();
    }
    let log = std::fs::read(directory.path().join("store.db-wal")).unwrap();
    let main = std::fs::read(directory.path().join("store.db")).unwrap();
    let mut seen = std::collections::BTreeSet::new();
    for eighth in 0..=8 {
        let copy = tempfile::tempdir().unwrap();
        std::fs::write(copy.path().join("store.db"), &main).unwrap();
        // A log that is torn at any place.
        std::fs::write(copy.path().join("store.db-wal"), &log[..log.len() * eighth / 8]).unwrap();
        let torn = sqlite(copy.path()).await;
        let contents = torn.load().await.unwrap();
        seen.insert(contents.generation.0);
        let texts: Vec<_> = contents
            .rows
            .iter()
            .map(|row| String::from_utf8(row.body[1..].to_vec()).unwrap())
            .collect();
        assert!(texts.windows(2).all(|pair| pair[0] == pair[1]), "{texts:?}");
        if let Some(text) = texts.first() {
            assert_eq!(text.parse::<u64>().unwrap() + 1, contents.generation.0);
        }
    }
    assert!(seen.contains(&20) && seen.len() > 3, "{seen:?}");
}
