//! `public-keys/`: the keys of the image's default user.
//!
//! The index names key N as `N=NAME`, and its path is `N/openssh-key`. Clients file the keys by
//! name, so names are unique: two keys with one comment would otherwise be one key to them.

use super::V1_0;
use crate::{
    render::key_comment,
    tree::{
        Body, Directory, Entry, Family, Item, Label, Node, Scope, families::place, family, folder,
        leaf,
    },
};

/// The directory.
pub(super) static PUBLIC_KEYS: Directory = folder(&ENTRIES);

static ENTRIES: [Entry; 1] = [family(
    V1_0,
    Family {
        members: |scope, each| {
            for (at, name) in names(&scope.guest.instance.ssh_keys).iter().enumerate() {
                each(&format!("{at}={name}"));
            }
        },
        choose: |scope, segment| {
            let at = place(segment).filter(|at| *at < scope.guest.instance.ssh_keys.len())?;
            Some(Scope { item: Item::Index(at), ..scope })
        },
    },
    Node::Directory(&KEY),
)];

static KEY: Directory = Directory { entries: &KEY_ENTRIES, label: Label::Family, keep: false };
static KEY_ENTRIES: [Entry; 1] = [leaf("openssh-key", V1_0, |it| {
    // With a newline, since boot scripts append it to authorized_keys as it comes.
    let line = it.guest.instance.ssh_keys.get(it.index());
    Body::text(line.map(|line| format!("{}\n", line.trim_end())).unwrap_or_default())
})];

/// A name for each key: its comment, as far as a name may have its characters, or `key`.
fn names(keys: &[Box<str>]) -> Vec<String> {
    let mut names: Vec<String> = Vec::with_capacity(keys.len());
    for (at, line) in keys.iter().enumerate() {
        let comment: String = key_comment(line)
            .chars()
            .take(64)
            .map(|c| if c.is_ascii_alphanumeric() || "@._-".contains(c) { c } else { '-' })
            .collect();
        let mut name = if comment.is_empty() { "key".to_owned() } else { comment };
        while names.contains(&name) {
            name = format!("{name}-{at}");
        }
        names.push(name);
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_with_one_comment_have_two_names() {
        let lines = [
            "ssh-ed25519 AAAAC3 alice@laptop",
            "ssh-rsa AAAAB3 alice@laptop",
            "ssh-rsa AAAAB4",
            "command=\"x y\",no-pty ssh-rsa AAAAB5 a b=c/d",
            "ssh-rsa AAAAB6 alice@laptop-1",
        ]
        .map(Box::from);
        assert_eq!(
            names(&lines),
            ["alice@laptop", "alice@laptop-1", "key", "a-b-c-d", "alice@laptop-1-4"]
        );
    }
}
