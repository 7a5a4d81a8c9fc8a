//! The same in an object store: a real server on loopback, and real processes that are killed.

use std::{process::Command, sync::Arc, time::Duration};

use mezame_images::{
    archive::store::{
        Store,
        s3::{Credentials, Patience, Place as At, PlainHttp, S3, Style, Trust},
    },
    environment::SystemEnvironment,
};

use super::{
    Place, kill_after, kill_beside_each_other,
    object_store::{BUCKET, KEY, ObjectStore, REGION, SECRET},
    time,
};

/// An archive's place in an object store of the test's own.
pub(crate) struct Remote(ObjectStore);

impl Remote {
    fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.0.port())
    }

    /// Tells a worker where it is.
    pub(crate) fn name(&self, command: &mut Command) {
        command.env("AWS_ACCESS_KEY_ID", KEY).env("AWS_SECRET_ACCESS_KEY", SECRET);
        command.arg(format!("{}/{BUCKET}/kept/archive", self.endpoint()));
    }

    pub(crate) fn store(&self) -> Arc<dyn Store> {
        let at = At {
            endpoint: &self.endpoint(),
            region: REGION,
            bucket: BUCKET,
            folder: "kept/archive",
            style: Style::Path,
            plain: PlainHttp::ToLoopback,
        };
        let keys = Credentials::new(KEY, SECRET, None).unwrap();
        let environment = Arc::new(SystemEnvironment::new());
        Arc::new(S3::open(&at, keys, &Trust::System, Patience::default(), environment).unwrap())
    }
}

fn remote(seed: u64) -> Place {
    let mut place = Place::new(seed);
    place.remote = Some(Remote(ObjectStore::start()));
    place
}

#[test]
fn a_collection_in_an_object_store_that_is_killed_at_forty_moments_leaves_every_image_whole() {
    let mut place = remote(3);
    let (mut killed, mut collected) = (0, Duration::from_millis(300));
    for round in 0.. {
        place.write(2);
        let surplus = place.images.len().saturating_sub(3);
        place.delete(surplus);
        for _ in 0..4 {
            let micros = collected.as_micros() as u64;
            let after = Duration::from_micros(place.random.below(micros.max(1)));
            killed += u32::from(kill_after(place.start(&["gc"]), after));
        }
        place.assert_all_whole(&format!("after {killed} kills"));
        if killed >= 40 {
            break;
        }
        assert!(round < 40, "only {killed} were killed at work");
        if round % 3 == 2 {
            collected = time(place.start(&["gc"])).max(Duration::from_millis(20));
        }
    }
    // The last one finishes what all of them began.
    let surplus = place.images.len();
    place.delete(surplus);
    time(place.start(&["gc"]));
    let store = place.remote.as_ref().unwrap().store();
    for kind in ["packs/", "condemned/", "waits/", "writers/"] {
        assert_eq!(store.list(kind).unwrap(), [], "{kind} has something left");
    }
}

#[test]
fn writers_and_collections_in_an_object_store_that_are_killed_beside_each_other_lose_nothing() {
    kill_beside_each_other(&mut remote(4), 8, 700);
}
