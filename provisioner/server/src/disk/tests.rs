//! The way from a record to an image and back: what is read from the image is what
//! `protocol::respond` answers at the same path, with the same randomness.

use std::collections::BTreeMap;

use mezame_model::{TokenPolicy, UserData};
use mezame_protocol::{Answer, Randomness, Request, Status, Version, respond};
use proptest::prelude::*;

use super::{fat::tests::read, *};

/// Two tenants' instances, with keys that are made for tests.
fn snapshot() -> Snapshot {
    let text =
        include_str!("../../../../metadata-server/protocol/testdata/snapshot-with-test-keys.json");
    serde_json::from_str(text).unwrap()
}

fn instance(snapshot: &Snapshot, change: impl FnOnce(&mut Instance)) -> Arc<Instance> {
    let mut instance = Arc::clone(&snapshot.instances[0]);
    let its = Arc::make_mut(&mut instance);
    its.dialects = [Dialect::Openstack, Dialect::Nocloud].into();
    its.tokens = TokenPolicy::Optional;
    change(its);
    instance
}

fn make(snapshot: &Snapshot, instance: &Arc<Instance>, format: DiskFormat) -> Disk {
    Disk::make(snapshot, instance, format).unwrap_or_else(|error| panic!("{error}"))
}

/// What HTTP answers a guest, with the disk's own randomness.
fn get(snapshot: &Snapshot, instance: &Arc<Instance>, path: &str) -> (Status, Vec<u8>) {
    let guest = Guest::join(snapshot, instance).unwrap();
    let keys = TokenKeys::new(&snapshot.site.token_keys).unwrap();
    let signer = Signer::new(&snapshot.site.signing_key, Box::new(SystemRandom::new())).unwrap();
    let random = RandomSeed::new(&snapshot.site.signing_key.pkcs8, &instance.id);
    let context = Context {
        keys: &keys,
        signer: &signer,
        now: UnixTime(1_800_000_000),
        random: &random as &dyn Randomness,
        port: &guest.ports[0].port.id,
        generation: snapshot.generation,
        modified: None,
        start: mezame_protocol::Start::NONE,
        acknowledged: &Spent::NONE,
        order: None,
        watch_over: false,
        watched: None,
    };
    let host = [("Host", &b"169.254.169.254"[..])];
    let request = Request::parse(Version::Http11, "GET", path.as_bytes(), host).unwrap();
    let Answer::Reply(reply) = respond(&request, b"", &guest, &context) else {
        panic!("{path} is no plain read");
    };
    (reply.status, reply.body.to_vec())
}

/// Every file below a path of HTTP's, as listings lead to them.
fn crawl(
    snapshot: &Snapshot,
    instance: &Arc<Instance>,
    path: &str,
    files: &mut BTreeMap<String, Vec<u8>>,
) {
    let (status, body) = get(snapshot, instance, path);
    assert_eq!(status, Status::Ok, "{path}");
    if !path.ends_with('/') {
        files.insert(path.trim_start_matches('/').to_owned(), body);
        return;
    }
    for line in String::from_utf8(body).unwrap().lines() {
        // The list of OpenStack's versions is bare.
        let slash = if path == "/openstack/" { "/" } else { "" };
        crawl(snapshot, instance, &format!("{path}{line}{slash}"), files);
    }
}

#[test]
fn every_file_of_an_image_is_what_http_answers_and_the_other_way_round() {
    let snapshot = snapshot();
    for has_data in [true, false] {
        let instance = instance(&snapshot, |it| {
            if !has_data {
                (it.user_data, it.vendor_data) = (None, None);
            }
        });
        for (format, root) in
            [(DiskFormat::ConfigTwo, "/openstack/"), (DiskFormat::Cidata, "/nocloud/")]
        {
            let mut answered = BTreeMap::new();
            crawl(&snapshot, &instance, root, &mut answered);
            // Nobody can post to a disk.
            answered.retain(|path, _| !path.ends_with("/password"));
            let mut written = read(&make(&snapshot, &instance, format).image);
            if format == DiskFormat::Cidata {
                written = written.into_iter().map(|(k, v)| (format!("nocloud/{k}"), v)).collect();
            }
            written.retain(|path, _| !path.starts_with("ec2/"));
            assert!(answered.len() >= 4);
            assert!(written == answered, "{format}: {:?} {:?}", written.keys(), answered.keys());
        }
    }
}

#[test]
fn a_config_drive_has_the_files_that_novas_has() {
    let snapshot = snapshot();
    let instance = instance(&snapshot, |_| {});
    let files = read(&make(&snapshot, &instance, DiskFormat::ConfigTwo).image);
    for path in [
        "openstack/latest/meta_data.json",
        "openstack/latest/user_data",
        "openstack/latest/vendor_data.json",
        "openstack/latest/vendor_data2.json",
        "openstack/latest/network_data.json",
        "openstack/2012-08-10/meta_data.json",
        "ec2/latest/meta-data.json",
        "ec2/2009-04-04/meta-data.json",
        "ec2/2009-04-04/user-data",
    ] {
        assert!(files.contains_key(path), "{path}");
    }
    assert!(!files.keys().any(|path| path.ends_with("/password")));
    let ec2: serde_json::Value =
        serde_json::from_slice(&files["ec2/latest/meta-data.json"]).unwrap();
    assert_eq!(ec2["instance-id"], instance.id.as_str());
    assert_eq!(ec2["public-keys"]["0"]["openssh-key"], format!("{}\n", instance.ssh_keys[0]));
}

#[test]
fn the_same_record_gives_the_same_bytes_and_another_record_others() {
    let snapshot = snapshot();
    let instance = instance(&snapshot, |_| {});
    for format in DiskFormat::ALL {
        let disk = make(&snapshot, &instance, format);
        let again = make(&self::snapshot(), &instance, format);
        assert!(disk.image == again.image && disk.digest == again.digest, "{format}");
        let mut changed = Arc::clone(&instance);
        Arc::make_mut(&mut changed).hostname = "other".into();
        let other = make(&snapshot, &changed, format);
        assert_ne!(disk.digest, other.digest);
        // The volume's serial number, by which a system knows it again.
        assert_ne!(disk.image[39..43], other.image[39..43], "{format}");
    }
}

#[test]
fn labels_are_what_clients_look_for() {
    let snapshot = snapshot();
    let instance = instance(&snapshot, |_| {});
    for (format, label) in
        [(DiskFormat::ConfigTwo, b"config-2   "), (DiskFormat::Cidata, b"CIDATA     ")]
    {
        let image = make(&snapshot, &instance, format).image;
        assert_eq!(&image[43..54], label);
        assert_eq!(image.windows(12).filter(|it| it[..11] == *label && it[11] == 8).count(), 1);
    }
}

#[test]
fn an_instance_without_the_dialect_or_without_its_port_has_no_disk() {
    let snapshot = snapshot();
    let other = instance(&snapshot, |it| it.dialects = [Dialect::Ec2].into());
    for format in DiskFormat::ALL {
        match Disk::make(&snapshot, &other, format).map(drop) {
            Err(DiskError::Dialect { dialect, .. }) => assert_eq!(dialect, format.dialect()),
            other => panic!("{other:?}"),
        }
    }
    let mut torn = self::snapshot();
    torn.ports.clear();
    let instance = instance(&snapshot, |_| {});
    let made = Disk::make(&torn, &instance, DiskFormat::Cidata);
    assert!(matches!(made.map(drop), Err(DiskError::NotWhole)));
}

#[test]
fn the_largest_data_in_its_longest_spelling_fits() {
    let snapshot = snapshot();
    let instance = instance(&snapshot, |it| {
        // JSON needs six bytes for each of these.
        let data = UserData::new(vec![1; UserData::MAX]).unwrap();
        (it.user_data, it.vendor_data) = (Some(data.clone()), Some(data));
    });
    let image = make(&snapshot, &instance, DiskFormat::ConfigTwo).image;
    assert!((90 << 20..91 << 20).contains(&image.len()), "{} bytes", image.len());
    let files = read(&image);
    assert_eq!(files["openstack/latest/user_data"], [1; UserData::MAX]);
    let vendor = files["openstack/latest/vendor_data.json"].len();
    assert!(vendor > 6 * UserData::MAX, "{vendor} bytes");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn user_data_of_any_length_comes_back(
        length in prop_oneof![0..5000_usize, 0..=UserData::MAX, Just(UserData::MAX)],
        byte: u8,
    ) {
        let snapshot = snapshot();
        let data = UserData::new(vec![byte; length]).unwrap();
        let instance = instance(&snapshot, |it| it.user_data = Some(data.clone()));
        let files = read(&make(&snapshot, &instance, DiskFormat::Cidata).image);
        prop_assert!(files["user-data"] == *data.bytes());
        prop_assert_eq!(&files["user-data"], &get(&snapshot, &instance, "/nocloud/user-data").1);
    }
}
