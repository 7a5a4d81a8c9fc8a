//! The tree below `/mezame/v1`: the document, the inboxes, and plain text for shells.
//!
//! A text leaf ends each line with a newline, so that `while read` sees the last one too. A router
//! or firewall image with `sh` and one of curl, wget or ftp can configure itself from these alone.

use mezame_model::{Guest, GuestPort, Password, SecretString, User, UserData, document::Interface};

use super::{document, inbox};
use crate::{
    response::{self, Audit},
    tree::{
        Body, Directory, Entry, Family, Inbox, Item, Leaf, Name, Node, Scope, directory,
        families::{ports_by_mac, tags},
        family, kept, leaf, leaf_if,
    },
    view::{waiting_secret, waiting_secrets},
};

/// The directory. It and all below are there even when they are empty, so that a shell script's
/// loop finds nothing instead of an error.
pub(super) static V1: Directory = kept(&V1_ENTRIES);

static V1_ENTRIES: [Entry; 17] = [
    leaf("addresses", 0, |it| lines(own(it).addresses)),
    leaf("dns", 0, |it| lines(own(it).dns)),
    leaf("document", 0, document::read),
    leaf("gateways", 0, |it| lines(own(it).gateways)),
    leaf("hostname", 0, |it| lines([it.guest.fqdn()])),
    leaf("instance-id", 0, |it| lines([&it.guest.instance.id])),
    directory("interfaces", 0, &INTERFACES),
    leaf("name", 0, |it| lines([&it.guest.instance.name])),
    inbox("password", Inbox::Password),
    leaf("region", 0, |it| lines([&it.guest.site.region])),
    inbox("report", Inbox::Report),
    directory("secrets", 0, &SECRETS),
    leaf("ssh-keys", 0, |it| lines(&it.guest.instance.ssh_keys)),
    directory("tags", 0, &TAGS),
    leaf_if("user-data", 0, |it| user(it.guest).is_some(), |it| Body::data(user(it.guest))),
    directory("users", 0, &USERS),
    leaf_if("vendor-data", 0, |it| vendor(it.guest).is_some(), |it| Body::data(vendor(it.guest))),
];

static INTERFACES: Directory = kept(&INTERFACES_ENTRIES);
static INTERFACES_ENTRIES: [Entry; 1] = [family(0, ports_by_mac(), Node::Directory(&INTERFACE))];

static INTERFACE: Directory = kept(&INTERFACE_ENTRIES);
static INTERFACE_ENTRIES: [Entry; 7] = [
    leaf("addresses", 0, |it| lines(own(it).addresses)),
    leaf("dns", 0, |it| lines(own(it).dns)),
    leaf("domain", 0, |it| lines(&own(it).domain)),
    leaf("gateways", 0, |it| lines(own(it).gateways)),
    leaf("mtu", 0, |it| lines([own(it).mtu])),
    leaf("network", 0, |it| lines([&it.port().network.name])),
    // "DESTINATION ROUTER", for `while read to via`.
    leaf("routes", 0, |it| {
        lines(own(it).routes.iter().map(|route| format!("{} {}", route.destination, route.via)))
    }),
];

/// Names that wait to be read. A name answers its acknowledgement even when it waits no longer.
static SECRETS: Directory = kept(&SECRETS_ENTRIES);
static SECRETS_ENTRIES: [Entry; 1] = [family(
    0,
    Family {
        members: |scope, each| {
            waiting_secrets(scope).for_each(|(name, _)| each(name.as_str()));
        },
        choose: |scope, segment| {
            let known =
                scope.guest.instance.secrets.keys().chain(scope.context.acknowledged.names());
            let name = known.map(|name| name.as_str()).find(|name| *name == segment)?;
            Some(Scope { item: Item::Name(name), ..scope })
        },
    },
    Node::Leaf(Leaf {
        exists: |it| waiting_secret(it, it.name()).is_some(),
        read: secret,
        below: Some(("ack", Inbox::SecretAcknowledgement)),
    }),
)];

static TAGS: Directory = kept(&TAGS_ENTRIES);
static TAGS_ENTRIES: [Entry; 1] = [family(
    0,
    tags(),
    Node::Leaf(Leaf {
        exists: |_| true,
        read: |it| lines(it.guest.instance.tags.get(it.name())),
        below: None,
    }),
)];

/// The accounts, by name, so that a shell needs no JSON. A hash is handed out to whoever may read
/// the document, and audited alike.
static USERS: Directory = kept(&USERS_ENTRIES);
static USERS_ENTRIES: [Entry; 1] = [family(
    0,
    Family {
        members: |scope, each| {
            scope.guest.instance.users.iter().for_each(|user| each(user.name.as_str()));
        },
        choose: |scope, segment| {
            let mut users = scope.guest.instance.users.iter();
            let user = users.find(|user| user.name.as_str() == segment)?;
            Some(Scope { item: Item::Name(user.name.as_str()), ..scope })
        },
    },
    Node::Directory(&USER),
)];

static USER: Directory = kept(&USER_ENTRIES);
static USER_ENTRIES: [Entry; 6] = [
    leaf("groups", 0, |it| lines(account(it).map(|user| &user.groups).into_iter().flatten())),
    leaf_if("password-hash", 0, |it| hash(it).is_some(), password_hash),
    leaf_if("shell", 0, |it| shell(it).is_some(), |it| lines(shell(it))),
    leaf("ssh-keys", 0, |it| lines(opened(it).map(|user| &user.ssh_keys).into_iter().flatten())),
    leaf("stopped", 0, |it| lines([opened(it).is_none()])),
    leaf("sudo", 0, |it| lines([opened(it).is_some_and(|user| user.sudo)])),
];

/// A place to post to.
const fn inbox(name: &'static str, inbox: Inbox) -> Entry {
    Entry { name: Name::Fixed(name), since: 0, node: Node::Inbox(inbox) }
}

/// One line for each item, each with its newline.
fn lines<T: std::fmt::Display>(items: impl IntoIterator<Item = T>) -> Body {
    let mut text = String::new();
    for item in items {
        text.push_str(&item.to_string());
        text.push('\n');
    }
    Body::text(text)
}

/// The port that the path has chosen, as the guest is to configure it.
fn own(scope: &Scope<'_>) -> Interface {
    let primary: &GuestPort = scope.guest.primary();
    document::interface(scope.port(), std::ptr::eq(primary, scope.port()))
}

/// The text of the secret that the path has chosen, as it is.
fn secret(scope: &Scope<'_>) -> Body {
    let Some((name, value)) = waiting_secret(scope, scope.name()) else {
        return Body::fixed("");
    };
    let mut body = Body::text(value.expose());
    body.content_type = response::BYTES;
    body.etag = Some(inbox::tag_of(scope, name, value));
    body.audit = Some(Audit::Secret(name.clone()));
    body
}

/// The account that the path has chosen.
fn account<'a>(scope: &Scope<'a>) -> Option<&'a User> {
    scope.guest.instance.users.iter().find(|user| user.name.as_str() == scope.name())
}

/// The same, if anybody is to get in by it: a script that does not ask whether a user is stopped is
/// told nothing that opens the account. Root can't be stopped.
fn opened<'a>(scope: &Scope<'a>) -> Option<&'a User> {
    account(scope).filter(|user| !user.stopped || user.name.as_str() == "root")
}

fn shell<'a>(scope: &Scope<'a>) -> Option<&'a str> {
    account(scope)?.shell.as_deref()
}

fn hash<'a>(scope: &Scope<'a>) -> Option<&'a SecretString> {
    match opened(scope)?.password.as_ref()? {
        Password::Hash(hash) => Some(hash),
        Password::Generate => None,
    }
}

fn password_hash(scope: &Scope<'_>) -> Body {
    let mut body = lines(hash(scope).map(SecretString::expose));
    let user = account(scope).map(|user| user.name.clone());
    body.audit = Some(Audit::PasswordHashes(user.into_iter().collect()));
    body
}

fn user(guest: &Guest) -> Option<&UserData> {
    guest.instance.user_data.as_ref()
}

fn vendor(guest: &Guest) -> Option<&UserData> {
    guest.instance.vendor_data.as_ref()
}
