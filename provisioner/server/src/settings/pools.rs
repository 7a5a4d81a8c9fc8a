//! What a pool is: a directory, whole block devices, or the LUNs of an iSCSI target.
//!
//! All of it is parsed when the settings are read, so that a fault is told with its place in them.
//! Secrets are named by their file and read when they are needed; none is here.

use std::{
    collections::BTreeSet,
    fmt,
    path::{Component, Path, PathBuf},
};

use mezame_images::iscsi::{ChapUser, InitiatorName, IscsiName, Lun};
use serde::{
    Deserialize, Deserializer, Serialize,
    de::{self, MapAccess, Visitor, value::MapAccessDeserializer},
};

/// How many devices or LUNs a pool has at most.
const MOST: usize = 256;

/// A pool.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PoolSettings {
    /// A directory that any number of volumes lie in.
    Directory(PathBuf),
    /// Block devices of this host, each of which carries one volume.
    Devices(Vec<PathBuf>),
    /// LUNs, each of which carries one volume.
    Luns(Box<IscsiSettings>),
}

/// The LUNs of a target, and how they are reached.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "SpelledIscsi", into = "SpelledIscsi")]
pub struct IscsiSettings {
    pub(crate) target: IscsiName,
    pub(crate) luns: Vec<Lun>,
    pub(crate) initiator: Option<InitiatorName>,
    pub(crate) chap: Option<ChapSettings>,
    portal: String,
    numbers: Vec<u8>,
}

/// As whom CHAP logs in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChapSettings {
    /// Who.
    pub(crate) user: String,
    /// The file with the secret, which only we may read.
    pub(crate) secret_file: PathBuf,
}

/// As it is in the file.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Spelled {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    devices: Option<Vec<PathBuf>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    iscsi: Option<IscsiSettings>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct SpelledIscsi {
    portal: String,
    target: String,
    luns: Vec<u8>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    initiator: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    chap: Option<ChapSettings>,
}

impl PoolSettings {
    /// Where it is, if it is a directory.
    pub(crate) fn directory(&self) -> Option<&Path> {
        match self {
            Self::Directory(path) => Some(path),
            Self::Devices(_) | Self::Luns(_) => None,
        }
    }

    /// What no other pool may have, too.
    pub(super) fn disks(&self) -> Vec<String> {
        match self {
            Self::Directory(_) => Vec::new(),
            Self::Devices(paths) => paths.iter().map(|path| path.display().to_string()).collect(),
            // By the target alone: a LUN is the same by any of its portals and users.
            Self::Luns(it) => {
                it.luns.iter().map(|lun| format!("{}/{}", it.target, lun.number())).collect()
            }
        }
    }
}

impl From<PathBuf> for PoolSettings {
    fn from(path: PathBuf) -> Self {
        Self::Directory(path)
    }
}

impl TryFrom<Spelled> for PoolSettings {
    type Error = String;

    fn try_from(spelled: Spelled) -> Result<Self, String> {
        match (spelled.devices, spelled.iscsi) {
            (Some(devices), None) => {
                check_count("devices", devices.len())?;
                check_once("devices", devices.iter())?;
                let is_device = |path: &&PathBuf| {
                    let is_plain = |part: Component<'_>| part != Component::ParentDir;
                    path.is_absolute()
                        && path.starts_with("/dev")
                        && path.components().all(is_plain)
                };
                match devices.iter().find(|path| !is_device(path)) {
                    None => Ok(Self::Devices(devices)),
                    Some(path) => Err(format!(
                        "devices: '{}' is no whole path below /dev: name it by what stays the same, \
                         as /dev/disk/by-id/…",
                        path.display()
                    )),
                }
            }
            (None, Some(iscsi)) => Ok(Self::Luns(Box::new(iscsi))),
            _ => Err("a pool of disks has either 'devices' or 'iscsi'".into()),
        }
    }
}

impl TryFrom<SpelledIscsi> for IscsiSettings {
    type Error = String;

    fn try_from(spelled: SpelledIscsi) -> Result<Self, String> {
        let SpelledIscsi { portal, target, luns: numbers, initiator, chap } = spelled;
        check_count("iscsi.luns", numbers.len())?;
        check_once("iscsi.luns", numbers.iter())?;
        let user = match &chap {
            None => String::new(),
            Some(chap) if !chap.secret_file.is_absolute() => {
                return Err("iscsi.chap.secret_file: it is no whole path of a file".into());
            }
            Some(chap) => {
                let user = ChapUser::parse(&chap.user);
                format!("{}@", user.map_err(|error| format!("iscsi.chap.user: {error}"))?)
            }
        };
        let name = IscsiName::parse(&target).map_err(|error| format!("iscsi.target: {error}"))?;
        let lun = |number: &u8| Lun::parse(&format!("iscsi://{user}{portal}/{target}/{number}"));
        let luns: Result<Vec<_>, _> = numbers.iter().map(lun).collect();
        let luns = luns.map_err(|error| format!("iscsi.portal: {error}"))?;
        let initiator = initiator.as_deref().map(InitiatorName::parse).transpose();
        let initiator = initiator.map_err(|error| format!("iscsi.initiator: {error}"))?;
        Ok(Self { target: name, luns, initiator, chap, portal, numbers })
    }
}

impl From<IscsiSettings> for SpelledIscsi {
    fn from(it: IscsiSettings) -> Self {
        Self {
            portal: it.portal,
            target: it.target.to_string(),
            luns: it.numbers,
            initiator: it.initiator.map(|name| name.as_str().to_owned()),
            chap: it.chap,
        }
    }
}

fn check_count(name: &str, count: usize) -> Result<(), String> {
    if (1..=MOST).contains(&count) { Ok(()) } else { Err(format!("{name}: name 1 to {MOST}")) }
}

fn check_once<T: Ord + fmt::Debug>(name: &str, all: impl Iterator<Item = T>) -> Result<(), String> {
    let mut seen = BTreeSet::new();
    for one in all {
        if let Some(twice) = seen.replace(one) {
            return Err(format!("{name}: {twice:?} is there twice; name each once"));
        }
    }
    Ok(())
}

impl Serialize for PoolSettings {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let spelled = match self.clone() {
            Self::Directory(path) => return path.serialize(to),
            Self::Devices(devices) => Spelled { devices: Some(devices), iscsi: None },
            Self::Luns(iscsi) => Spelled { devices: None, iscsi: Some(*iscsi) },
        };
        spelled.serialize(to)
    }
}

impl<'de> Deserialize<'de> for PoolSettings {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Either;

        impl<'de> Visitor<'de> for Either {
            type Value = PoolSettings;

            fn expecting(&self, into: &mut fmt::Formatter<'_>) -> fmt::Result {
                into.write_str("a directory, or {devices: [PATH, …]}, or {iscsi: {…}}")
            }

            fn visit_str<E: de::Error>(self, path: &str) -> Result<PoolSettings, E> {
                Ok(PoolSettings::Directory(path.into()))
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<PoolSettings, A::Error> {
                let spelled = Spelled::deserialize(MapAccessDeserializer::new(map))?;
                PoolSettings::try_from(spelled).map_err(de::Error::custom)
            }
        }

        from.deserialize_any(Either)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn parse(settings: Value) -> Result<PoolSettings, String> {
        serde_json::from_value(settings).map_err(|error| error.to_string())
    }

    fn iscsi(change: impl FnOnce(&mut Value)) -> Value {
        let mut settings = json!({ "iscsi": {
            "portal": "10.0.0.5:3260", "target": "iqn.2026-01.net.example:pool", "luns": [1, 2],
            "chap": { "user": "mezame", "secret_file": "/etc/mezame/chap" },
        }});
        change(&mut settings["iscsi"]);
        settings
    }

    #[test]
    fn a_path_is_a_directory_and_a_map_is_devices_or_luns() {
        assert_eq!(parse(json!("/srv/pool")), Ok(PoolSettings::Directory("/srv/pool".into())));
        let devices = parse(json!({ "devices": ["/dev/disk/by-id/a"] })).unwrap();
        assert_eq!(devices.disks(), ["/dev/disk/by-id/a"]);
        let luns = parse(iscsi(|_| ())).unwrap();
        assert_eq!(luns.disks()[1], "iqn.2026-01.net.example:pool/2");
        let PoolSettings::Luns(luns) = luns else { panic!("no LUNs") };
        let url = "iscsi://mezame@10.0.0.5:3260/iqn.2026-01.net.example:pool/1";
        assert_eq!(luns.luns[0].to_string(), url);
    }

    #[test]
    fn what_was_parsed_is_written_as_it_was_spelled() {
        let disks = json!({ "devices": ["/dev/vdb", "/dev/vdc"] });
        for settings in [json!("/srv/pool"), disks, iscsi(|_| ())] {
            let parsed = parse(settings.clone()).unwrap();
            assert_eq!(serde_json::to_value(parsed).unwrap(), settings);
        }
    }

    #[test]
    fn a_fault_is_told_with_its_place_and_what_is_wanted() {
        let told = |settings| parse(settings).unwrap_err();
        assert!(told(json!(7)).contains("a directory, or {devices: [PATH, …]}"));
        assert!(told(json!({})).contains("either 'devices' or 'iscsi'"));
        assert!(told(json!({ "devices": [] })).contains("devices: name 1 to 256"));
        assert!(told(json!({ "device": ["/dev/vdb"] })).contains("unknown field `device`"));
        for path in ["dev/vdb", "/srv/file", "/dev/../etc/passwd"] {
            assert!(told(json!({ "devices": [path] })).contains("/dev/disk/by-id/"), "{path}");
        }
        let twice = json!({ "devices": ["/dev/vdb", "/dev/vdb"] });
        assert!(told(twice).contains("\"/dev/vdb\" is there twice"));
        assert!(
            told(iscsi(|it| it["luns"] = json!([1, 1]))).contains("iscsi.luns: 1 is there twice")
        );
        assert!(told(iscsi(|it| it["target"] = json!("pool"))).contains("iscsi.target: "));
        assert!(told(iscsi(|it| it["portal"] = json!("10.0.0.5:x"))).contains("iscsi.portal: "));
        assert!(told(iscsi(|it| it["initiator"] = json!("me"))).contains("iscsi.initiator: "));
        let secret = "chap:secret%word";
        let user = told(iscsi(|it| it["chap"]["user"] = json!(secret)));
        assert!(user.contains("iscsi.chap.user: ") && !user.contains(secret), "{user}");
        let inline = told(iscsi(|it| it["chap"]["secret"] = json!("twelve-letters")));
        assert!(inline.contains("unknown field `secret`"), "{inline}");
        let file = told(iscsi(|it| it["chap"]["secret_file"] = json!("chap")));
        assert!(file.contains("iscsi.chap.secret_file"), "{file}");
    }
}
