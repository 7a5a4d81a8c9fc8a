//! `instance/attributes/`: the tenant's tags, keys and user-data.
//!
//! A tag is an attribute by its key; one whose key can't be a path segment is left out. Four names
//! are ours, and a tag by such a name is left out too: `ssh-keys`, `user-data`,
//! `user-data-encoding` and `windows-keys`. All else that Google's clients look for (`startup-script-url`,
//! `block-project-ssh-keys`, …) comes as a tag, as far as a tag's value has room for it.
//!
//! Follows "Predefined metadata keys" and, for the keys' form, "Add SSH keys to VMs".

use base64::{Engine, engine::general_purpose::STANDARD};
use mezame_model::{Guest, WindowsKey};

use crate::tree::{
    Body, Directory, Entry, Family, Item, Leaf, Node, Scope, family, is_plain_segment, kept,
};

const SSH_KEYS: &str = "ssh-keys";
const USER_DATA: &str = "user-data";
const USER_DATA_ENCODING: &str = "user-data-encoding";
/// Asks for passwords, one as JSON in each line.
const WINDOWS_KEYS: &str = "windows-keys";
/// The names that no tag can take.
const RESERVED: [&str; 4] = [SSH_KEYS, USER_DATA, USER_DATA_ENCODING, WINDOWS_KEYS];

/// Whom the instance's own keys are for. cloud-init takes it for the image's default user,
/// whatever that is called.
const DEFAULT_USER: &str = "cloudinit";

/// The directory.
pub(super) static ATTRIBUTES: Directory = kept(&ENTRIES);

static ENTRIES: [Entry; 1] = [family(
    0,
    Family {
        members: |scope, each| {
            let tags = scope.guest.instance.tags.keys().filter(|key| is_attribute(key));
            let reserved = RESERVED.into_iter().filter(|key| has(scope.guest, key));
            let mut keys: Vec<&str> = tags.chain(reserved).collect();
            keys.sort_unstable();
            keys.into_iter().for_each(each);
        },
        choose: |scope, segment| {
            let key = match RESERVED.into_iter().find(|key| *key == segment) {
                Some(key) => has(scope.guest, key).then_some(key)?,
                None => {
                    let (key, _) = scope.guest.instance.tags.get_key_value(segment)?;
                    is_attribute(key).then_some(key)?
                }
            };
            Some(Scope { item: Item::Name(key), ..scope })
        },
    },
    Node::Leaf(Leaf { exists: |_| true, read, below: None }),
)];

/// Whether a tag by this key is an attribute.
fn is_attribute(key: &str) -> bool {
    is_plain_segment(key) && !RESERVED.contains(&key)
}

/// Whether the guest has the attribute by a reserved name.
fn has(guest: &Guest, key: &str) -> bool {
    let data = guest.instance.user_data.as_ref();
    match key {
        SSH_KEYS => keys(guest).next().is_some(),
        USER_DATA => data.is_some(),
        WINDOWS_KEYS => asks(guest).next().is_some(),
        // JSON and attributes are text, so other bytes go out in base64; clients decode it.
        _ => data.is_some_and(|data| std::str::from_utf8(data.bytes()).is_err()),
    }
}

fn read(scope: &Scope<'_>) -> Body {
    let guest = scope.guest;
    match (scope.name(), &guest.instance.user_data) {
        (SSH_KEYS, _) => Body::lines(keys(guest).map(|(user, key)| format!("{user}:{key}"))),
        (USER_DATA, Some(data)) => match std::str::from_utf8(data.bytes()) {
            Ok(_) => Body::of(super::TEXT, data.bytes().clone()),
            Err(_) => Body::text(STANDARD.encode(data.bytes())),
        },
        (WINDOWS_KEYS, _) => {
            Body::lines(asks(guest).map(|key| serde_json::to_string(key).unwrap_or_default()))
        }
        (USER_DATA_ENCODING, _) => Body::fixed("base64"),
        (key, _) => Body::text(guest.instance.tags.get(key).unwrap_or_default()),
    }
}

/// The asks for passwords, but those of users who are stopped, in whatever case of letters: Google's
/// agent would let them in.
fn asks(guest: &Guest) -> impl Iterator<Item = &WindowsKey> {
    let is_stopped = |name: &str| {
        let mut users = guest.instance.users.iter();
        users.any(|user| user.stopped && user.name.as_str().eq_ignore_ascii_case(name))
    };
    guest.instance.windows_keys.iter().filter(move |key| !is_stopped(&key.user_name))
}

/// The keys, each with its user: the default user's first, and none of a user who is stopped, whom
/// Google's agent then takes them away from.
fn keys(guest: &Guest) -> impl Iterator<Item = (&str, &str)> {
    let instance = &guest.instance;
    let of_default = instance.ssh_keys.iter().map(|key| (DEFAULT_USER, key.trim()));
    let of_users = instance
        .users
        .iter()
        .filter(|user| !user.stopped)
        .flat_map(|user| user.ssh_keys.iter().map(move |key| (user.name.as_str(), key.trim())));
    of_default.chain(of_users)
}
