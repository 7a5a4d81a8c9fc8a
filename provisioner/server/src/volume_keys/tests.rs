//! What operators may do to keys, one thing after the other.

use mezame_model::volume_key::Once;
use serde_json::json;

use super::*;

fn name(text: &str) -> VolumeName {
    VolumeName::parse(text).unwrap()
}

fn bytes(byte: u8) -> SecretBytes {
    SecretBytes::new(vec![byte; 32])
}

fn new(text: &str, byte: u8) -> Action {
    Action::Create(NewVolumeKey {
        name: name(text),
        key: bytes(byte),
        once: Once::PerStart,
        window_seconds: None,
        not_after: None,
    })
}

fn bare() -> InstanceRecord {
    let instance: Instance = serde_json::from_value(json!({
        "id": "i-0123456789abcdef0", "project": "p", "name": "web", "hostname": "web",
        "ports": ["eni-0123456789abcdef0"], "dialects": ["mezame"], "instance_type": "m1.small",
        "image_id": "ami-0123456789abcdef0", "zone": "a", "launched_at": 1,
    }))
    .unwrap();
    InstanceRecord {
        instance: Arc::new(instance),
        consumed: Default::default(),
        kept_back: Default::default(),
        renewed: Default::default(),
        revision: None,
    }
}

/// Does one thing after the other to the key `root`.
fn after(actions: impl IntoIterator<Item = Action>) -> InstanceRecord {
    actions.into_iter().fold(bare(), |record, action| {
        change(&record, &name("root"), action).unwrap().expect("something changes")
    })
}

fn refusal(record: &InstanceRecord, action: Action) -> String {
    match change(record, &name("root"), action) {
        Err(Refused::Fault(fault)) => format!("{}: {}", fault.path, fault.message),
        Err(Refused::NotFound) => "not found".into(),
        Ok(_) => panic!("it is done"),
    }
}

fn versions(record: &InstanceRecord) -> Vec<u32> {
    views(record).remove(0).versions
}

#[test]
fn a_key_is_there_with_its_next_version_until_the_old_one_is_taken_away() {
    let record = after([new("root", 1), Action::Rotate(bytes(2))]);
    let key = &record.instance.volume_keys[&name("root")];
    assert_eq!(versions(&record), [2, 1]);
    assert_eq!((&key.versions[0].key, &key.versions[1].key), (&bytes(2), &bytes(1)));
    assert_eq!(refusal(&record, Action::Rotate(bytes(3))), ": both of its versions are in use");
    let rotated = change(&record, &name("root"), Action::Revoke(Some(1))).unwrap().unwrap();
    assert_eq!(versions(&rotated), [2]);
    assert!(rotated.kept_back.is_empty(), "a version that is taken away is gone");
    // A rotation can be taken back as well.
    let back = change(&record, &name("root"), Action::Revoke(Some(2))).unwrap().unwrap();
    assert_eq!(versions(&back), [1]);
    // Its number is not used again.
    let again = change(&back, &name("root"), Action::Rotate(bytes(3))).unwrap().unwrap();
    assert_eq!(versions(&again), [3, 1]);
    assert_eq!(refusal(&rotated, Action::Revoke(Some(2))), "version: it is the key's only version");
    assert_eq!(
        refusal(&rotated, Action::Revoke(Some(7))),
        "version: the key has no version 7 in use"
    );
}

#[test]
fn a_revoked_keys_bytes_are_not_with_the_instance_and_come_back_when_it_is_restored() {
    let record = after([new("root", 1), Action::Rotate(bytes(2)), Action::Revoke(None)]);
    let key = &record.instance.volume_keys[&name("root")];
    assert_eq!((key.state, key.versions.len()), (KeyState::Revoked, 0));
    assert_eq!(versions(&record), [2, 1], "an operator sees what is kept");
    assert!(change(&record, &name("root"), Action::Revoke(None)).unwrap().is_none());
    assert_eq!(refusal(&record, Action::Rotate(bytes(3))), ": the key is revoked");
    let restored = change(&record, &name("root"), Action::Restore).unwrap().unwrap();
    let key = &restored.instance.volume_keys[&name("root")];
    assert_eq!((key.state, key.versions.len()), (KeyState::Active, 2));
    assert!(restored.kept_back.is_empty());
    assert!(change(&restored, &name("root"), Action::Restore).unwrap().is_none());
    let destroyed = change(&record, &name("root"), Action::Destroy).unwrap().unwrap();
    assert!(destroyed.instance.volume_keys.is_empty() && destroyed.kept_back.is_empty());
}

#[test]
fn what_can_not_be_a_key_is_refused() {
    let record = after([new("root", 1)]);
    assert_eq!(refusal(&record, new("root", 2)), "name: there is a key 'root' already");
    assert_eq!(refusal(&record, Action::Rotate(bytes(1))), "key: it is the key that there is");
    for length in [0, 15, 513] {
        let key = SecretBytes::new(vec![9; length]);
        assert_eq!(
            refusal(&record, Action::Rotate(key)),
            format!("key: the key has {length} bytes")
        );
    }
    for action in [
        Action::Rotate(bytes(2)),
        Action::Revoke(None),
        Action::Revoke(Some(1)),
        Action::Restore,
        Action::Destroy,
    ] {
        assert_eq!(refusal(&bare(), action), "not found");
    }
    let many = (0..VolumeKey::COUNT_MAX).fold(bare(), |record, number| {
        let text = format!("data{number}");
        change(&record, &name(&text), new(&text, 1)).unwrap().unwrap()
    });
    assert_eq!(refusal(&many, new("root", 1)), "name: an instance has at most 16 keys");
}
