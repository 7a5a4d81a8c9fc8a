//! What an archive relies on of a store, checked on each of them.

use super::{ObjectName, Store, StoreError};

/// Checks all of it; `make` gives an empty store each time.
pub(crate) fn check(make: &dyn Fn() -> Box<dyn Store>) {
    an_object_is_read_back_whole_and_in_parts(&*make());
    a_name_is_given_once(&*make());
    of_many_writers_of_one_name_one_wins(&*make());
    a_listing_is_of_its_prefix(&*make());
    what_is_deleted_is_gone_and_its_name_is_free(&*make());
    an_object_can_be_replaced(&*make());
}

fn name(text: &str) -> ObjectName {
    ObjectName::parse(text).unwrap()
}

/// Of a pack, after a lost answer, a store may not know; here nobody else is at work.
fn put(store: &dyn Store, object: &ObjectName, bytes: &[u8]) {
    for _ in 0..9 {
        match store.put_new(object, bytes) {
            Err(StoreError::Unsettled { .. }) => {}
            other => return other.unwrap(),
        }
    }
    panic!("{object} could not be written");
}

fn an_object_is_read_back_whole_and_in_parts(store: &dyn Store) {
    let bytes: Vec<u8> = (0..100_000u32).flat_map(u32::to_le_bytes).collect();
    let object = name("packs/one");
    put(store, &object, &bytes);
    store.put_new(&name("empty"), b"").unwrap();
    assert_eq!(store.read(&object, bytes.len() as u64).unwrap(), bytes);
    assert_eq!(store.read(&name("empty"), 0).unwrap(), b"");
    let mut part = [0; 777];
    store.read_at(&object, 123_456, &mut part).unwrap();
    assert_eq!(part, bytes[123_456..123_456 + 777]);
    let limited = store.read(&object, bytes.len() as u64 - 1).unwrap_err();
    assert!(matches!(limited, StoreError::Damaged { .. }), "a limit was not kept");
    let beyond = store.read_at(&object, bytes.len() as u64 - 776, &mut part).unwrap_err();
    assert!(matches!(beyond, StoreError::Damaged { .. }), "bytes were read that are not there");
    for missing in [
        store.read(&name("packs/two"), 9).unwrap_err(),
        store.read(&name("other/two"), 9).unwrap_err(),
        store.read_at(&name("packs/two"), 0, &mut part).unwrap_err(),
    ] {
        assert!(matches!(missing, StoreError::Missing { .. }), "{missing}");
    }
}

fn a_name_is_given_once(store: &dyn Store) {
    store.put_new(&name("images/a"), b"first").unwrap();
    let second = store.put_new(&name("images/a"), b"second").unwrap_err();
    assert!(matches!(second, StoreError::Exists { .. }), "{second}");
    assert_eq!(store.read(&name("images/a"), 99).unwrap(), b"first");
}

fn of_many_writers_of_one_name_one_wins(store: &dyn Store) {
    for round in 0..20 {
        let object = name(&format!("images/{round}"));
        let wins: Vec<u8> = std::thread::scope(|scope| {
            let writers: Vec<_> = (0..4u8)
                .map(|who| {
                    let object = &object;
                    scope.spawn(move || store.put_new(object, &[who; 5000]).is_ok().then_some(who))
                })
                .collect();
            writers.into_iter().filter_map(|writer| writer.join().unwrap()).collect()
        });
        assert_eq!(wins.len(), 1, "round {round}");
        assert_eq!(store.read(&object, 9999).unwrap(), [wins[0]; 5000]);
    }
}

fn a_listing_is_of_its_prefix(store: &dyn Store) {
    assert_eq!(store.list("packs/").unwrap(), []);
    for text in ["packs/a", "packs/b", "shares/x/y", "shares/z/y", "format"] {
        put(store, &name(text), text.as_bytes());
    }
    let list = |prefix: &str| {
        let mut found = store.list(prefix).unwrap();
        found.sort();
        found.iter().map(|l| (l.name.to_string(), l.length)).collect::<Vec<_>>()
    };
    assert_eq!(list("packs/"), [("packs/a".into(), 7), ("packs/b".into(), 7)]);
    assert_eq!(list("shares/"), [("shares/x/y".into(), 10), ("shares/z/y".into(), 10)]);
    assert_eq!(list("shares/x/"), [("shares/x/y".into(), 10)]);
    assert_eq!(list("images/"), []);
}

fn what_is_deleted_is_gone_and_its_name_is_free(store: &dyn Store) {
    let object = name("packs/a");
    store.delete(&object).unwrap();
    put(store, &object, b"first");
    store.delete(&object).unwrap();
    store.delete(&object).unwrap();
    assert!(matches!(store.read(&object, 99), Err(StoreError::Missing { .. })));
    assert_eq!(store.list("packs/").unwrap(), []);
    put(store, &object, b"second");
    assert_eq!(store.read(&object, 99).unwrap(), b"second");
}

fn an_object_can_be_replaced(store: &dyn Store) {
    let object = name("writers/a");
    for text in ["first", "second, longer", "3"] {
        store.replace(&object, text.as_bytes()).unwrap();
        assert_eq!(store.read(&object, 99).unwrap(), text.as_bytes());
        assert_eq!(store.list("writers/").unwrap().len(), 1);
    }
}
