//! `project/`: what a guest is told about its owner.
//!
//! One entry is ours and not Google's: `identity-keys`, with which a guest checks the identity
//! tokens of other guests. Google publishes its own on the Internet, where we have no place.

use bytes::Bytes;

use super::{identity, project_number};
use crate::{
    response::JSON,
    tree::{Body, Directory, Entry, directory, kept, leaf},
};

/// The directory.
pub(super) static PROJECT: Directory = kept(&ENTRIES);

static ENTRIES: [Entry; 4] = [
    directory("attributes", 0, &ATTRIBUTES),
    leaf("identity-keys", 0, |it| Body::of(JSON, Bytes::from(identity::keys(it.context.signer)))),
    leaf("numeric-project-id", 0, |it| Body::text(project_number(it).to_string())),
    leaf("project-id", 0, |it| Body::text(it.guest.instance.project.as_str())),
];

/// A project has no attributes here; clients want the empty directory and not 404.
static ATTRIBUTES: Directory = kept(&[]);
