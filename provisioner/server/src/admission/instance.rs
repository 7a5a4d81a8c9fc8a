//! Reading a `kind: Instance` document.
//!
//! A secret field may hold `"(sealed)"`, as the API shows it: the stored value is then kept.

use std::collections::{BTreeMap, BTreeSet};

use base64::{Engine, engine::general_purpose::STANDARD};
use mezame_model::{
    Certificate, Dialect, HopLimit, InstanceName, PortName, ProjectName, RemoteDesktop, SecretName,
    SecretString, TokenPolicy, UserData, WindowsKey, Winrm, id,
};

use super::{
    certificate,
    form::{Node, Object, Path, nearest},
    remote_access, ssh_key,
    user::{self, UserForm},
    windows_key,
};

/// How the API shows a value that it never shows.
pub(crate) const SEALED: &str = "(sealed)";

/// The fields of the document.
pub(crate) const FIELDS: &[&str] = &[
    "kind",
    "project",
    "name",
    "hostname",
    "ports",
    "ssh_keys",
    "users",
    "user_data",
    "user_data_base64",
    "vendor_data",
    "vendor_data_base64",
    "tags",
    "secrets",
    "tokens",
    "hop_limit",
    "dialects",
    "instance_type",
    "image_id",
    "zone",
    "launch_index",
    "block_devices",
    "trusted_certificates",
    "remote_desktop",
    "winrm",
    "windows_keys",
];

/// The longest secret, in bytes.
const LONGEST_SECRET: usize = 64 << 10;

/// A secret that is given, or stands for the stored one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Given<T> {
    /// A new value.
    Value(T),
    /// `"(sealed)"`: what is stored.
    Kept,
}

/// An instance as its document has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct InstanceForm {
    pub(crate) project: ProjectName,
    pub(crate) name: InstanceName,
    pub(crate) hostname: Box<str>,
    pub(crate) ports: Vec<PortName>,
    pub(crate) ssh_keys: Vec<Box<str>>,
    pub(crate) users: Vec<UserForm>,
    pub(crate) user_data: Option<Given<UserData>>,
    pub(crate) vendor_data: Option<Given<UserData>>,
    pub(crate) tags: BTreeMap<Box<str>, Box<str>>,
    pub(crate) secrets: BTreeMap<SecretName, Given<SecretString>>,
    pub(crate) tokens: TokenPolicy,
    pub(crate) hop_limit: HopLimit,
    pub(crate) dialects: BTreeSet<Dialect>,
    pub(crate) instance_type: Box<str>,
    pub(crate) image_id: Box<str>,
    pub(crate) zone: char,
    pub(crate) launch_index: u32,
    pub(crate) block_devices: BTreeMap<Box<str>, Box<str>>,
    pub(crate) trusted_certificates: Vec<Certificate>,
    pub(crate) remote_desktop: Option<RemoteDesktop>,
    pub(crate) winrm: Option<Winrm>,
    pub(crate) windows_keys: Vec<WindowsKey>,
}

/// The words of `tokens`.
const TOKENS: [(&str, TokenPolicy); 3] = [
    ("required", TokenPolicy::Required),
    ("optional", TokenPolicy::Optional),
    ("off", TokenPolicy::Off),
];

/// Reads the fields, noting every fault.
pub(super) fn read(node: &Node<'_>) -> Option<InstanceForm> {
    let object = Object::open(node, FIELDS)?;
    let project = object.required("project", super::PROJECT_MEND, |n| n.parsed(super::NAME_MEND));
    let name: Option<InstanceName> =
        object.required("name", "give the instance a name", |n| n.parsed(super::NAME_MEND));
    let hostname = object.field("hostname", read_hostname).optional();
    let ports = object.required("ports", "name its ports, the primary one first", read_ports);
    let ssh_keys = object.field("ssh_keys", read_keys).or(Vec::new);
    let users = object.field("users", user::read_all).or(Vec::new);
    let user_data = read_data(&object, "user_data", "user_data_base64");
    let vendor_data = read_data(&object, "vendor_data", "vendor_data_base64");
    let tags = object.field("tags", |n| n.map(256, read_tag)).or(Vec::new);
    let secrets = object.field("secrets", |n| n.map(64, read_secret)).or(Vec::new);
    let tokens = object.field("tokens", |n| one_of(n, &TOKENS)).or(TokenPolicy::default);
    let hop_limit = object.field("hop_limit", |n| n.integer(1, 64)).or(|| 1);
    let dialects = object.field("dialects", read_dialects).or(|| Dialect::DEFAULT.into());
    let instance_type =
        object.field("instance_type", read_word).or(|| DEFAULT_INSTANCE_TYPE.into());
    let image_id = object.field("image_id", read_image).or(|| DEFAULT_IMAGE.into());
    let zone = object.field("zone", read_zone).or(|| 'a');
    let launch_index = object.field("launch_index", |n| n.integer(0, 1 << 20)).or(|| 0);
    let block_devices = object.field("block_devices", |n| n.map(64, read_device)).or(Vec::new);
    let trusted_certificates =
        object.field("trusted_certificates", certificate::read_all).or(Vec::new);
    let remote_access = remote_access::read(&object);
    let windows_keys =
        object.field("windows_keys", |n| n.list(WindowsKey::COUNT_MAX, windows_key::read));
    let windows_keys = windows_keys.or(Vec::new);
    let name = name?;
    let (remote_desktop, winrm) = remote_access?;
    Some(InstanceForm {
        project: project?,
        hostname: hostname?.unwrap_or_else(|| name.as_str().into()),
        name,
        ports: ports?,
        ssh_keys: ssh_keys?,
        users: users?,
        user_data: user_data?,
        vendor_data: vendor_data?,
        tags: tags?.into_iter().collect(),
        secrets: secrets?.into_iter().collect(),
        tokens: tokens?,
        hop_limit: HopLimit::try_from(u8::try_from(hop_limit?).ok()?).ok()?,
        dialects: dialects?,
        instance_type: instance_type?,
        image_id: image_id?,
        zone: zone?,
        launch_index: u32::try_from(launch_index?).ok()?,
        block_devices: block_devices?.into_iter().collect(),
        trusted_certificates: trusted_certificates?,
        remote_desktop,
        winrm,
        windows_keys: windows_keys?,
    })
}

/// What a guest is told where the operator says nothing.
pub(crate) const DEFAULT_INSTANCE_TYPE: &str = "m1.small";

/// The image of a guest whose operator named none.
pub(crate) const DEFAULT_IMAGE: &str = "ami-00000000000000000";

fn read_hostname(node: &Node<'_>) -> Option<Box<str>> {
    let text = node.text(253)?;
    if !id::is_hostname(text) {
        return node.fault(format!("{text:?} is no host name"), id::HOSTNAME_RULE);
    }
    Some(text.into())
}

fn read_ports(node: &Node<'_>) -> Option<Vec<PortName>> {
    let ports: Vec<PortName> = node.list(32, |n| n.parsed(super::NAME_MEND))?;
    if ports.is_empty() {
        return node.fault("an instance needs a port to be reached by", "name one");
    }
    let mut good = true;
    for (at, port) in ports.iter().enumerate() {
        if ports[..at].contains(port) {
            let path = Path::Item(node.path, at);
            Node { path: &path, ..*node }
                .fault::<()>(format!("the port '{port}' is there twice"), "remove one");
            good = false;
        }
    }
    good.then_some(ports)
}

/// A list of `authorized_keys` lines. No fault repeats a line.
pub(super) fn read_keys(node: &Node<'_>) -> Option<Vec<Box<str>>> {
    node.list(100, |n| {
        let line = n.text(16 << 10)?;
        match ssh_key::key_type(line) {
            Ok(_) => Some(line.trim().into()),
            Err(error) => n.fault(error.to_string(), error.mend()),
        }
    })
}

/// User-data as text or as base64, not both.
fn read_data(object: &Object<'_>, plain: &str, coded: &str) -> Option<Option<Given<UserData>>> {
    if object.has(plain) && object.has(coded) {
        object.fault_at(
            coded,
            &format!("'{plain}' and '{coded}' are both given"),
            "give the data once: as text, or as base64",
        );
        return None;
    }
    let take = |node: &Node<'_>, bytes: Vec<u8>| match UserData::new(bytes) {
        Ok(data) => Some(Given::Value(data)),
        Err(error) => node.fault(
            error.to_string(),
            "let it fetch what is large, or compress it (gzip) and give it as base64",
        ),
    };
    let text = object.field(plain, |n| match n.text(usize::MAX)? {
        SEALED => Some(Given::Kept),
        text => take(n, text.as_bytes().to_vec()),
    });
    let bytes = object.field(coded, |n| match n.text(usize::MAX)? {
        SEALED => Some(Given::Kept),
        text => {
            // YAML folds long base64 into lines.
            let mut text = text.as_bytes().to_vec();
            text.retain(|b| !b.is_ascii_whitespace());
            match STANDARD.decode(&text) {
                Ok(bytes) => take(n, bytes),
                Err(_) => n.fault(
                    "this is not base64 (RFC 4648, section 4, with padding)",
                    format!("encode it with `base64`, or give text as '{plain}'"),
                ),
            }
        }
    });
    match (text.optional()?, bytes.optional()?) {
        (Some(data), _) | (None, Some(data)) => Some(Some(data)),
        (None, None) => Some(None),
    }
}

/// Tags as EC2 serves them under `meta-data/tags/instance/KEY`: the key is one segment of a path.
fn read_tag(key: &str, node: &Node<'_>) -> Option<(Box<str>, Box<str>)> {
    let fits = |b: u8| b.is_ascii_alphanumeric() || b"+-=.,_:@".contains(&b);
    if !(1..=128).contains(&key.len()) || !key.bytes().all(fits) {
        return node.fault(
            "a tag's key has 1 to 128 letters, digits and '+-=.,_:@': guests ask for it by a path",
            "choose another key",
        );
    }
    if matches!(key, "." | ".." | "_index") || key.to_ascii_lowercase().starts_with("aws:") {
        return node.fault("this key is reserved", "choose another key");
    }
    let digits =
        |text: &str| !text.is_empty() && text.bytes().all(|b| b"0123456789+-_".contains(&b));
    if key.split_once('=').is_some_and(|(before, _)| digits(before)) {
        return node.fault(
            "guests read a key such as 0=name as EC2's way to list a numbered entry",
            "choose another key",
        );
    }
    let value = node.text(1024)?;
    if value.chars().count() > 256 || value.chars().any(char::is_control) {
        return node.fault(
            "a tag's value has at most 256 characters, and no line breaks",
            "shorten it, or hand it over as user-data",
        );
    }
    Some((key.into(), value.into()))
}

fn read_secret(key: &str, node: &Node<'_>) -> Option<(SecretName, Given<SecretString>)> {
    let Ok(name) = SecretName::parse(key) else {
        return node.fault(format!("a secret's name has {}", id::NAME_RULE), "choose another name");
    };
    match node.text(LONGEST_SECRET)? {
        SEALED => Some((name, Given::Kept)),
        "" => node.fault("an empty secret hides nothing", "give a value, or remove it"),
        text => Some((name, Given::Value(SecretString::new(text.into())))),
    }
}

fn read_dialects(node: &Node<'_>) -> Option<BTreeSet<Dialect>> {
    let words: Vec<(&str, Dialect)> =
        Dialect::ALL.into_iter().map(|dialect| (dialect.as_str(), dialect)).collect();
    let dialects = node.list(16, |n| one_of(n, &words))?;
    if dialects.is_empty() {
        return node.fault(
            "without a dialect the guest gets no answer",
            "name one, leave the field out for the usual ones, or say `tokens: off`",
        );
    }
    for (one, other) in Dialect::RIVALS {
        if dialects.contains(&one) && dialects.contains(&other) {
            let (one, other) = (one.as_str(), other.as_str());
            return node.fault(
                format!("{one} and {other} have the same paths and say different things there"),
                format!("keep '{one}' or '{other}', whichever the image's client asks for"),
            );
        }
    }
    Some(dialects.into_iter().collect())
}

/// One of some words.
pub(super) fn one_of<T: Copy>(node: &Node<'_>, words: &[(&str, T)]) -> Option<T> {
    // YAML 1.1 reads a bare `off` as false.
    let text = match node.value {
        serde_json::Value::Bool(false) => "off",
        _ => node.text(64)?,
    };
    if let Some((_, value)) = words.iter().find(|(word, _)| *word == text) {
        return Some(*value);
    }
    let known: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
    let mend = match nearest(text, &known) {
        Some(near) => format!("did you mean '{near}'?"),
        None => format!("give one of {}", known.join(", ")),
    };
    node.fault(format!("this is none of {}", known.join(", ")), mend)
}

fn read_word(node: &Node<'_>) -> Option<Box<str>> {
    let text = node.text(64)?;
    let fits = |b: u8| b.is_ascii_alphanumeric() || b"._-".contains(&b);
    if text.is_empty() || !text.bytes().all(fits) {
        return node.fault(
            "this has other characters than letters, digits, '.', '_' and '-'",
            "give a type such as m1.small",
        );
    }
    Some(text.into())
}

fn read_image(node: &Node<'_>) -> Option<Box<str>> {
    let text = node.text(64)?;
    let digits = text.strip_prefix("ami-").unwrap_or_default();
    let fits = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
    if digits.len() != 17 || !digits.bytes().all(fits) {
        return node.fault("this is no image id", "give 'ami-' and 17 digits of 0-9 and a-f");
    }
    Some(text.into())
}

fn read_zone(node: &Node<'_>) -> Option<char> {
    match node.text(4)?.as_bytes() {
        [letter @ b'a'..=b'z'] => Some(char::from(*letter)),
        _ => node.fault("a zone is one letter in its region", "give a letter from a to z"),
    }
}

fn read_device(key: &str, node: &Node<'_>) -> Option<(Box<str>, Box<str>)> {
    let fits = |b: u8| b.is_ascii_alphanumeric() || b"_-".contains(&b);
    if !(1..=32).contains(&key.len()) || !key.bytes().all(fits) {
        return node.fault("a disk's name has 1 to 32 letters, digits, '_' and '-'", "rename it");
    }
    let device = node.text(64)?;
    let fits = |b: u8| b.is_ascii_alphanumeric() || b"/_-".contains(&b);
    if device.is_empty() || !device.bytes().all(fits) {
        return node.fault("this is no device's name", "give one such as vda or /dev/vda");
    }
    Some((key.into(), device.into()))
}
