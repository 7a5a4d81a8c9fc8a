//! Which version is taken, and which answer is final.

use super::*;
use crate::platform::fake::Fake;

fn wanted(device: Option<&str>) -> Wanted {
    let volume = VolumeName::parse("root").unwrap();
    Wanted { volume, device: device.map(str::to_owned), timeout: Duration::ZERO }
}

fn keys(versions: &[u32]) -> Vec<VersionedKey> {
    let key = |version: &u32| VersionedKey { version: *version, key: key(*version) };
    versions.iter().map(key).collect()
}

fn key(version: u32) -> SecretBytes {
    SecretBytes::new(format!("key {version}").into_bytes())
}

#[test]
fn the_version_that_opens_the_volume_is_taken_be_it_the_old_one() {
    let platform = Fake::new("boot", Vec::new());
    platform.locks("/dev/vda", key(1));
    let opened = choose(&platform, &wanted(Some("/dev/vda")), keys(&[2, 1])).unwrap();
    assert_eq!(opened, key(1));
    platform.locks("/dev/vda", key(2));
    let opened = choose(&platform, &wanted(Some("/dev/vda")), keys(&[2, 1])).unwrap();
    assert_eq!(opened, key(2));
}

#[test]
fn where_no_version_opens_the_volume_that_is_said() {
    let platform = Fake::new("boot", Vec::new());
    platform.locks("/dev/vda", key(9));
    let error = choose(&platform, &wanted(Some("/dev/vda")), keys(&[2, 1])).unwrap_err();
    assert!(error.to_string().starts_with("no version of the key opens /dev/vda"), "{error}");
}

#[test]
fn a_single_version_is_given_without_a_look_at_the_volume() {
    let platform = Fake::new("boot", Vec::new());
    assert_eq!(choose(&platform, &wanted(Some("/dev/vda")), keys(&[1])).unwrap(), key(1));
    assert_eq!(choose(&platform, &wanted(None), keys(&[2, 1])).unwrap(), key(2));
}

#[test]
fn without_a_device_there_is_no_way_and_it_may_still_come() {
    let platform = Fake::new("boot", Vec::new());
    let mut said = Vec::new();
    let error = unlock(&Settings::default(), &platform, &wanted(None), &mut |text| {
        said.push(text.to_owned());
    });
    assert!(matches!(error, Err(UnlockError::NoWay)));
    assert_eq!(said, ["no device leads to the metadata service; waiting"]);
}

#[test]
fn a_refusal_is_final_unless_another_port_may_be_the_right_one() {
    let withheld = |code: &str| {
        UnlockError::Key(KeyError::Withheld { code: code.into(), detail: String::new() })
    };
    for code in ["revoked", "already-released", "deadline-over", "window-over", "no-such-key"] {
        assert!(is_final(&withheld(code)), "{code}");
    }
    assert!(!is_final(&withheld("other-port")));
    let not_ready = SourceError::NotReady { retry_after: None };
    assert!(!is_final(&UnlockError::Key(KeyError::Source(not_ready))));
    assert!(is_final(&UnlockError::Key(KeyError::Source(SourceError::Off))));
}
