//! `dynamic/instance-identity/`: a document about the instance, and signatures of it.

use mezame_model::ProjectName;

use super::{V2009, V2016};
use crate::{
    identity_document,
    render::base64_lines,
    tree::{Body, Directory, Entry, folder, leaf},
};

/// The directory.
pub(super) static IDENTITY: Directory = folder(&ENTRIES);

/// EC2 signs `pkcs7` with DSA and SHA-1; here it is what `rsa2048` is, and so may be trusted.
static ENTRIES: [Entry; 4] = [
    leaf("document", V2009, |it| Body::text(identity_document::text(it.guest))),
    leaf("pkcs7", V2009, |it| Body::text(base64_lines(&it.context.signer.cms(it.guest)))),
    leaf("rsa2048", V2016, |it| Body::text(base64_lines(&it.context.signer.cms(it.guest)))),
    leaf("signature", V2009, |it| Body::text(base64_lines(&it.context.signer.signature(it.guest)))),
];

/// The owner's number, as the document has it.
pub(super) fn account_id(project: &ProjectName) -> String {
    identity_document::account_id(project)
}
