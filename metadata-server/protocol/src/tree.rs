//! Trees of paths: a table each dialect, from which look-ups and listings are both derived.
//!
//! So an index and its leaves always agree, which clients rely on (cloud-init gives up all of its
//! metadata when a listed leaf answers 404). An entry that does not apply to a guest is neither
//! listed nor found, and a directory in which nothing applies is not there either.
//!
//! Holds no path of its own, knows no dialect, and reads nothing but the one guest in its scope.

mod body;
pub(crate) mod families;
mod walk;

pub(crate) use body::Body;
use body::push_line;
use bytes::Bytes;
use mezame_model::{Guest, GuestPort};

use crate::{request::Method, respond::Context, response};

/// What a look-up may read, and what the path has chosen so far.
#[derive(Clone, Copy)]
pub(crate) struct Scope<'a> {
    /// The guest that asks.
    pub(crate) guest: &'a Guest,
    /// The shell's facts.
    pub(crate) context: &'a Context<'a>,
    /// The dialect's edition that is asked for; entries of later ones are not there.
    pub(crate) edition: u8,
    /// What the last family entry on the path stands for.
    pub(crate) item: Item<'a>,
}

impl<'a> Scope<'a> {
    /// At a tree's root, in its newest edition.
    pub(crate) fn new(guest: &'a Guest, context: &'a Context<'a>) -> Self {
        Self { guest, context, edition: u8::MAX, item: Item::None }
    }

    /// The port that the path has chosen; the primary one if it has chosen none.
    pub(crate) fn port(&self) -> &'a GuestPort {
        match self.item {
            Item::Port(at) => self.guest.ports.get(at).unwrap_or(self.guest.primary()),
            _ => self.guest.primary(),
        }
    }

    /// The number that the path has chosen; 0 if none.
    pub(crate) fn index(&self) -> usize {
        match self.item {
            Item::Port(at) | Item::Index(at) => at,
            _ => 0,
        }
    }

    /// The name that the path has chosen; empty if none.
    pub(crate) fn name(&self) -> &'a str {
        match self.item {
            Item::Name(name) => name,
            _ => "",
        }
    }
}

/// What a path's segment stands for where the guest's record names the entries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Item<'a> {
    /// Nothing yet.
    None,
    /// One of the guest's ports, by its place.
    Port(usize),
    /// One of several, by its place.
    Index(usize),
    /// One of several, by its name.
    Name(&'a str),
}

/// One line of a tree's table.
pub(crate) struct Entry {
    pub(crate) name: Name,
    /// The first edition that has it.
    pub(crate) since: u8,
    pub(crate) node: Node,
}

/// What an entry is called.
pub(crate) enum Name {
    /// Always so.
    Fixed(&'static str),
    /// As the guest's record says: one entry for each of several things.
    Family(Family),
}

/// Calls its second argument with each member's line.
pub(crate) type Members = fn(&Scope<'_>, &mut dyn FnMut(&str));

/// Entries that the guest's record names.
pub(crate) struct Family {
    /// The segments, with the text by which a listing names each where that differs.
    pub(crate) members: Members,
    /// The scope that a segment chooses; None if there is no such member.
    pub(crate) choose: for<'a> fn(Scope<'a>, &str) -> Option<Scope<'a>>,
}

/// What is there.
pub(crate) enum Node {
    /// Holds entries.
    Directory(&'static Directory),
    /// Holds a value.
    Leaf(Leaf),
    /// Takes something with POST. Not listed, since listings say what can be read.
    Inbox(Inbox),
}

/// A directory.
pub(crate) struct Directory {
    pub(crate) entries: &'static [Entry],
    /// How listings name it in the directory above.
    pub(crate) label: Label,
    /// Whether it is there even when nothing in it is.
    pub(crate) keep: bool,
}

/// How a listing names a directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Label {
    /// With a slash at its end.
    Slash,
    /// Without one, as EC2 does at the top of its tree.
    Bare,
    /// As its family says, without a slash: EC2's `0=name` for a key.
    Family,
}

/// A leaf.
pub(crate) struct Leaf {
    /// Whether this guest has it. What it says must be cheap, since listings ask it.
    pub(crate) exists: fn(&Scope<'_>) -> bool,
    /// Its value, asked for only where it exists.
    pub(crate) read: fn(&Scope<'_>) -> Body,
    /// A place to post to that lies below it, with its name; there even where the value is not.
    pub(crate) below: Option<(&'static str, Inbox)>,
}

/// What an inbox takes; the dialect's view knows what to do with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Inbox {
    /// The agent's report.
    Report,
    /// A password that the guest made.
    Password,
    /// The acknowledgement of a read-once secret.
    SecretAcknowledgement,
}

/// What a path leads to.
pub(crate) enum Found<'a> {
    /// A directory, to be listed in its scope.
    Directory(&'static Directory, Scope<'a>),
    /// A leaf that exists.
    Leaf(&'static Leaf, Scope<'a>),
    /// A place to post to.
    Inbox(Inbox, Scope<'a>),
}

impl Found<'_> {
    /// The methods that it answers, for `Allow`.
    pub(crate) fn allow(&self) -> &'static str {
        match self {
            Self::Directory(..) | Self::Leaf(..) => "GET, HEAD",
            Self::Inbox(..) => "POST",
        }
    }

    /// Whether it answers the method.
    pub(crate) fn answers(&self, method: Method) -> bool {
        match self {
            Self::Directory(..) | Self::Leaf(..) => matches!(method, Method::Get | Method::Head),
            Self::Inbox(..) => method == Method::Post,
        }
    }

    /// The value or the listing; None for an inbox.
    pub(crate) fn read(&self) -> Option<Body> {
        match self {
            Self::Leaf(leaf, scope) => Some((leaf.read)(scope)),
            Self::Directory(directory, scope) => {
                Some(Body::of(response::TEXT, Bytes::from(directory.listing(scope))))
            }
            Self::Inbox(..) => None,
        }
    }
}

impl Directory {
    /// Follows the segments; None where they lead nowhere.
    pub(crate) fn find<'a, 's>(
        &'static self,
        mut segments: impl Iterator<Item = &'s str>,
        scope: Scope<'a>,
    ) -> Option<Found<'a>> {
        let (mut directory, mut scope) = (self, scope);
        loop {
            let Some(segment) = segments.next() else {
                let there = directory.keep || directory.has_any(&scope);
                return there.then_some(Found::Directory(directory, scope));
            };
            let (entry, chosen) = directory.entry(segment, scope)?;
            scope = chosen;
            match &entry.node {
                Node::Directory(next) => directory = next,
                Node::Leaf(leaf) => {
                    return match (segments.next(), leaf.below, segments.next()) {
                        (None, ..) => (leaf.exists)(&scope).then_some(Found::Leaf(leaf, scope)),
                        (Some(segment), Some((name, inbox)), None) if segment == name => {
                            Some(Found::Inbox(inbox, scope))
                        }
                        _ => None,
                    };
                }
                Node::Inbox(inbox) => {
                    return segments.next().is_none().then_some(Found::Inbox(*inbox, scope));
                }
            }
        }
    }

    /// The entry of a segment, and the scope that it chooses.
    fn entry<'a>(
        &'static self,
        segment: &str,
        scope: Scope<'a>,
    ) -> Option<(&'static Entry, Scope<'a>)> {
        self.entries.iter().filter(|entry| entry.since <= scope.edition).find_map(|entry| {
            match &entry.name {
                Name::Fixed(name) => (*name == segment).then_some((entry, scope)),
                Name::Family(family) => {
                    (family.choose)(scope, segment).map(|chosen| (entry, chosen))
                }
            }
        })
    }

    /// Whether anything in it is there.
    fn has_any(&self, scope: &Scope<'_>) -> bool {
        self.entries.iter().any(|entry| entry.since <= scope.edition && entry.is_there(scope))
    }

    /// What is there, a line each, without a newline at the end.
    pub(crate) fn listing(&self, scope: &Scope<'_>) -> String {
        let mut out = String::new();
        for entry in self.entries.iter().filter(|entry| entry.since <= scope.edition) {
            let slash = match &entry.node {
                Node::Inbox(_) => continue,
                Node::Directory(directory) if directory.label == Label::Slash => "/",
                Node::Directory(_) | Node::Leaf(_) => "",
            };
            match &entry.name {
                Name::Fixed(name) => {
                    if entry.is_there(scope) {
                        push_line(&mut out, name);
                        out.push_str(slash);
                    }
                }
                Name::Family(family) => (family.members)(scope, &mut |label| {
                    push_line(&mut out, label);
                    out.push_str(slash);
                }),
            }
        }
        out
    }
}

impl Entry {
    /// Whether the guest has it: a leaf that exists, a directory with something in it, a family
    /// with a member. (What a family's member holds, every member holds, so it is not asked.)
    fn is_there(&self, scope: &Scope<'_>) -> bool {
        if let Name::Family(family) = &self.name {
            let mut any = false;
            (family.members)(scope, &mut |_| any = true);
            return any;
        }
        match &self.node {
            Node::Leaf(leaf) => (leaf.exists)(scope),
            Node::Directory(directory) => directory.keep || directory.has_any(scope),
            Node::Inbox(_) => false,
        }
    }
}

/// A leaf that every guest has.
pub(crate) const fn leaf(name: &'static str, since: u8, read: fn(&Scope<'_>) -> Body) -> Entry {
    leaf_if(name, since, |_| true, read)
}

/// A leaf that some guests have.
pub(crate) const fn leaf_if(
    name: &'static str,
    since: u8,
    exists: fn(&Scope<'_>) -> bool,
    read: fn(&Scope<'_>) -> Body,
) -> Entry {
    Entry { name: Name::Fixed(name), since, node: Node::Leaf(Leaf { exists, read, below: None }) }
}

/// A directory with a fixed name.
pub(crate) const fn directory(
    name: &'static str,
    since: u8,
    directory: &'static Directory,
) -> Entry {
    Entry { name: Name::Fixed(name), since, node: Node::Directory(directory) }
}

/// A directory that is listed with a slash, and is there if anything in it is.
pub(crate) const fn folder(entries: &'static [Entry]) -> Directory {
    Directory { entries, label: Label::Slash, keep: false }
}

/// A directory that is listed with a slash, and is there even when it is empty.
pub(crate) const fn kept(entries: &'static [Entry]) -> Directory {
    Directory { entries, label: Label::Slash, keep: true }
}

/// Entries that the guest's record names, each with the same node.
pub(crate) const fn family(since: u8, family: Family, node: Node) -> Entry {
    Entry { name: Name::Family(family), since, node }
}

/// Whether a name from a record may be a segment and a line of a listing: no separator, nothing
/// that a client would escape, nothing that reads as a dot segment or as EC2's `0=name`.
pub(crate) fn is_plain_segment(name: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"+-=.,_:@".contains(&byte);
    let numbered = name.split_once('=').is_some_and(|(number, _)| {
        !number.is_empty()
            && number
                .bytes()
                .all(|byte| byte.is_ascii_digit() || byte == b'+' || byte == b'-' || byte == b'_')
    });
    !name.is_empty() && name.bytes().all(plain) && name != "." && name != ".." && !numbered
}

#[cfg(test)]
pub(crate) mod tests;
