//! Reading the `users` of an instance.

use mezame_model::{SecretString, User, UserName};

use super::{
    crypt,
    form::{Node, Object, Path},
    instance::{Given, SEALED, read_keys},
    ssh_key,
};

/// The fields of a user.
pub(crate) const FIELDS: &[&str] =
    &["name", "ssh_keys", "password", "sudo", "groups", "shell", "stopped"];

/// A user as the document has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct UserForm {
    pub(crate) name: UserName,
    pub(crate) ssh_keys: Vec<Box<str>>,
    pub(crate) password: Option<PasswordForm>,
    pub(crate) sudo: bool,
    pub(crate) groups: Vec<Box<str>>,
    pub(crate) shell: Option<Box<str>>,
    pub(crate) stopped: bool,
}

/// A password as the document has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum PasswordForm {
    /// `{hash: …}`.
    Hash(Given<SecretString>),
    /// `{generate: true}`.
    Generate,
}

/// Reads the list, noting every fault.
pub(super) fn read_all(node: &Node<'_>) -> Option<Vec<UserForm>> {
    let users = node.list(User::COUNT_MAX, read)?;
    let mut good = true;
    for (at, user) in users.iter().enumerate() {
        if users[..at].iter().any(|other| other.name == user.name) {
            let path = Path::Item(node.path, at);
            let field = Path::Field(&path, "name");
            Node { path: &field, ..*node }
                .fault::<()>(format!("the user '{}' is there twice", user.name), "make them one");
            good = false;
        }
    }
    good.then_some(users)
}

fn read(node: &Node<'_>) -> Option<UserForm> {
    let object = Object::open(node, FIELDS)?;
    let name =
        object.required("name", "give the login name", |n| n.parsed("choose another login name"));
    let ssh_keys = object.field("ssh_keys", read_keys).or(Vec::new);
    let password = object.field("password", |n| read_password(n, ssh_keys.as_deref())).optional();
    let sudo = object.field("sudo", |n| n.boolean()).or(|| false);
    let groups = object.field("groups", |n| n.list(64, read_group)).or(Vec::new);
    let shell = object.field("shell", read_shell).optional();
    let stopped = object.field("stopped", |n| read_stopped(n, name.as_ref())).or(|| false);
    Some(UserForm {
        name: name?,
        ssh_keys: ssh_keys?,
        password: password?,
        sudo: sudo?,
        groups: groups?,
        shell: shell?,
        stopped: stopped?,
    })
}

/// Without root a guest can't even be mended.
fn read_stopped(node: &Node<'_>, name: Option<&UserName>) -> Option<bool> {
    let stopped = node.boolean()?;
    if stopped && name.is_some_and(|name| name.as_str() == "root") {
        return node.fault(
            "root can't be stopped: nobody could mend the guest any more",
            "take away its ssh_keys and password instead",
        );
    }
    Some(stopped)
}

/// Either `{hash: …}` or `{generate: true}`. Nothing of what is found is repeated, names of
/// fields neither: the likeliest mistake is a password in some wrong place.
fn read_password(node: &Node<'_>, keys: Option<&[Box<str>]>) -> Option<PasswordForm> {
    const MEND: &str = "give {hash: HASH}, made with `mkpasswd` or `openssl passwd -6`, or \
                        {generate: true}";
    let serde_json::Value::Object(fields) = node.value else {
        return node.fault("a password is given as its hash, or made by the guest", MEND);
    };
    match (fields.len(), fields.get("hash"), fields.get("generate")) {
        (1, Some(value), None) => {
            let path = Path::Field(node.path, "hash");
            let node = Node { value, path: &path, ..*node };
            match node.text(1024)? {
                SEALED => Some(PasswordForm::Hash(Given::Kept)),
                text => match crypt::check(text) {
                    Ok(()) => {
                        let hash = SecretString::new(text.into());
                        Some(PasswordForm::Hash(Given::Value(hash)))
                    }
                    Err(error) => node.fault(
                        error.to_string(),
                        "make a hash with `mkpasswd` or `openssl passwd -6`",
                    ),
                },
            }
        }
        (1, None, Some(serde_json::Value::Bool(true))) => {
            // Without the keys' own faults there would be two about one mistake.
            let Some(keys) = keys else { return Some(PasswordForm::Generate) };
            match keys.first().map(|line| ssh_key::key_type(line)) {
                Some(Ok("ssh-ed25519" | "ssh-rsa")) => Some(PasswordForm::Generate),
                Some(_) => node.fault(
                    "a generated password is sealed to the user's first key, and only RSA and \
                     Ed25519 keys can be sealed to",
                    "put such a key first",
                ),
                None => node.fault(
                    "a generated password is sealed to the user's first key, and there is none",
                    "give the user an ssh_keys entry",
                ),
            }
        }
        _ => node.fault("a password is given as its hash, or made by the guest", MEND),
    }
}

fn read_group(node: &Node<'_>) -> Option<Box<str>> {
    // Groups keep the rule of users (groupadd(8)).
    match node.text(1024)?.parse::<UserName>() {
        Ok(name) => Some(name.as_str().into()),
        Err(error) => node.fault(
            format!("a group's name {:?} is not valid: {}", error.value, error.rule),
            "choose another one; Windows' groups with blanks are given by cloud-config",
        ),
    }
}

fn read_shell(node: &Node<'_>) -> Option<Box<str>> {
    let text = node.text(255)?;
    let fits = |b: u8| b.is_ascii_graphic() && b != b':' && b != b',';
    if !text.starts_with('/') || !text.bytes().all(fits) {
        return node.fault("a shell is an absolute path", "give one such as /bin/bash");
    }
    Some(text.into())
}
