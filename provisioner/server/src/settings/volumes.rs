//! Where volumes lie, and what work on them may take of this machine.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
};

use serde::{Deserialize, Serialize};

use super::pools::PoolSettings;

/// The pools of this host. Without this part of the settings a site has no volumes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct VolumeSettings {
    /// Directories, block devices and LUNs that volumes lie on, by name. Each is made a pool by
    /// `mezame volume pool create`, and never by itself.
    pub pools: BTreeMap<String, PoolSettings>,
    /// Which of them volumes lie in where none is named; the only one, where there is one.
    pub default_pool: Option<String>,
    /// The directory of the masters that volumes are clones of: the whole of each image, as a raw
    /// file.
    pub masters: Option<PathBuf>,
    /// Where sockets are made; `volumes` in the state directory without. QEMU must be able to enter.
    pub run_dir: Option<PathBuf>,
    /// Where what guests overwrite during a backup is kept meanwhile; as `run_dir` without.
    pub scratch_dir: Option<PathBuf>,
    /// The socket by which the metadata-server of this host has instances' agents freeze their guests;
    /// that of the same process without, where it is one.
    pub freeze_socket: Option<PathBuf>,
    /// What this host is called in volumes' records, which bind them to it; its own name without. One
    /// that is renamed, as a container that is started anew, is told its former name here.
    pub host: Option<String>,
    /// How many jobs are at work at once, 1 to 64.
    pub jobs: usize,
    /// How many hydrations are besides, 1 to 64.
    pub hydrations: usize,
}

impl VolumeSettings {
    /// What of them makes no sense, and what it must be.
    pub(crate) fn fault(&self, has_images: bool) -> Option<(&'static str, &'static str)> {
        let is_name = |name: &String| {
            let fits = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
            (1..=63).contains(&name.len()) && name.bytes().all(fits)
        };
        if !has_images {
            return Some(("images", "there where 'volumes' is: volumes are made of them"));
        }
        if self.pools.is_empty() || !self.pools.keys().all(is_name) {
            let wanted = "names of a-z, 0-9 and '-', each with a directory or with disks";
            return Some(("volumes.pools", wanted));
        }
        let disks: Vec<String> = self.pools.values().flat_map(PoolSettings::disks).collect();
        if disks.iter().collect::<BTreeSet<_>>().len() < disks.len() {
            return Some(("volumes.pools", "each device and each LUN in one pool alone"));
        }
        if self.usual_pool().is_none() {
            return Some(("volumes.default_pool", "one of the pools"));
        }
        if self.masters.is_none() {
            return Some(("volumes.masters", "a directory"));
        }
        let is_host = |host: &String| mezame_model::id::is_hostname(host);
        if !self.host.iter().all(is_host) {
            return Some(("volumes.host", mezame_model::id::HOSTNAME_RULE));
        }
        if !(1..=64).contains(&self.jobs) {
            return Some(("volumes.jobs", "1 to 64"));
        }
        if !(1..=64).contains(&self.hydrations) {
            return Some(("volumes.hydrations", "1 to 64"));
        }
        self.fault_of_places()
    }

    /// A path that is not whole would be another in each directory that the daemon is started in.
    fn fault_of_places(&self) -> Option<(&'static str, &'static str)> {
        let whole = "a whole path, which begins with '/'";
        let pools: Vec<_> = self.pools.values().filter_map(PoolSettings::directory).collect();
        if !pools.iter().all(|path| path.is_absolute()) {
            return Some(("volumes.pools", whole));
        }
        if pools.iter().enumerate().any(|(at, path)| pools[..at].contains(path)) {
            return Some(("volumes.pools", "each directory in one pool alone"));
        }
        for (name, path) in [
            ("volumes.masters", &self.masters),
            ("volumes.run_dir", &self.run_dir),
            ("volumes.scratch_dir", &self.scratch_dir),
        ] {
            if path.as_ref().is_some_and(|path| !path.is_absolute()) {
                return Some((name, whole));
            }
        }
        // Names of sockets come behind it.
        if self.run_dir.as_ref().is_some_and(|path| path.as_os_str().len() > 80) {
            return Some(("volumes.run_dir", "80 bytes at most: a socket's path has 107"));
        }
        None
    }

    /// The pool that is meant where none is named.
    pub(crate) fn usual_pool(&self) -> Option<&str> {
        let named = self.default_pool.as_deref();
        let only = self.pools.keys().next().filter(|_| self.pools.len() == 1);
        named.or(only.map(String::as_str)).filter(|name| self.pools.contains_key(*name))
    }
}

impl Default for VolumeSettings {
    fn default() -> Self {
        Self {
            pools: BTreeMap::new(),
            default_pool: None,
            masters: None,
            run_dir: None,
            scratch_dir: None,
            freeze_socket: None,
            host: None,
            jobs: 8,
            hydrations: 8,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(pools: &[&str]) -> VolumeSettings {
        let pool = |name: &&str| ((*name).to_owned(), PathBuf::from("/p").join(name).into());
        let pools = pools.iter().map(pool).collect();
        VolumeSettings { pools, masters: Some("/m".into()), ..VolumeSettings::default() }
    }

    #[test]
    fn the_only_pool_is_the_default_and_of_several_one_is_named() {
        assert_eq!(settings(&["a"]).usual_pool(), Some("a"));
        let two = settings(&["a", "b"]);
        assert_eq!(two.usual_pool(), None);
        assert_eq!(two.fault(true).unwrap().0, "volumes.default_pool");
        let named = VolumeSettings { default_pool: Some("b".into()), ..two };
        assert_eq!((named.usual_pool(), named.fault(true)), (Some("b"), None));
        let missing = VolumeSettings { default_pool: Some("c".into()), ..named };
        assert!(missing.fault(true).is_some());
    }

    #[test]
    fn places_are_whole_paths_each_of_one_pool_and_sockets_have_room_for_their_names() {
        let at = |path: &str| Some(PathBuf::from(path));
        let long = format!("/{}", "r".repeat(79));
        for (wrong, of) in [
            (VolumeSettings { masters: at("m"), ..settings(&["a"]) }, "volumes.masters"),
            (VolumeSettings { run_dir: at("run"), ..settings(&["a"]) }, "volumes.run_dir"),
            (
                VolumeSettings { run_dir: at(&format!("{long}r")), ..settings(&["a"]) },
                "volumes.run_dir",
            ),
            (VolumeSettings { scratch_dir: at("s"), ..settings(&["a"]) }, "volumes.scratch_dir"),
        ] {
            assert_eq!(wrong.fault(true).unwrap().0, of);
        }
        assert_eq!(VolumeSettings { run_dir: at(&long), ..settings(&["a"]) }.fault(true), None);
        for places in [["/p", "/p"], ["/p", "p"]] {
            let mut both = settings(&["a", "b"]);
            both.default_pool = Some("a".into());
            assert_eq!(both.fault(true), None);
            let names = ["a", "b"].map(str::to_owned);
            both.pools = names.into_iter().zip(places.map(|it| PathBuf::from(it).into())).collect();
            assert_eq!(both.fault(true).unwrap().0, "volumes.pools");
        }
    }

    #[test]
    fn a_disk_is_in_one_pool_alone() {
        let disks = || PoolSettings::Devices(vec!["/dev/vdb".into()]);
        let pools = [("a".to_owned(), disks()), ("b".to_owned(), disks())].into();
        let both = VolumeSettings { pools, default_pool: Some("a".into()), ..settings(&["a"]) };
        assert_eq!(both.fault(true).unwrap().1, "each device and each LUN in one pool alone");
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        assert_eq!(settings(&["a"]).fault(false).unwrap().0, "images");
        assert!(settings(&[]).fault(true).is_some());
        assert!(settings(&["A/.."]).fault(true).is_some());
        let nowhere = VolumeSettings { masters: None, ..settings(&["a"]) };
        assert_eq!(nowhere.fault(true).unwrap().0, "volumes.masters");
        let host = |name: &str| VolumeSettings { host: Some(name.into()), ..settings(&["a"]) };
        assert_eq!(host("hv-1").fault(true), None);
        assert_eq!(host("hv 1").fault(true).unwrap().0, "volumes.host");
        assert!(VolumeSettings { jobs: 0, ..settings(&["a"]) }.fault(true).is_some());
        let many = VolumeSettings { hydrations: 65, ..settings(&["a"]) };
        assert_eq!(many.fault(true).unwrap().0, "volumes.hydrations");
    }
}
