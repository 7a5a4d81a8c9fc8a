//! The fields of an instance.

use mezame_model::id::HOSTNAME_RULE;

use super::{NAME, OWNER, field};
use crate::explain::Field;

const USER_DATA_LIMIT: &str = "at most 1 MiB; only one of the three fields";

pub(super) const INSTANCE: &[Field] = &[
    OWNER,
    NAME,
    field(
        "hostname",
        "host name",
        "the instance's name",
        HOSTNAME_RULE,
        "What the guest calls itself.",
    ),
    field(
        "ports",
        "list of names",
        "required",
        "ports of the same project that no other instance has",
        "Its ports; the first is the primary one.",
    ),
    field(
        "ssh_keys",
        "list of authorized_keys lines",
        "none",
        "",
        "Keys of the image's default user (root for Mezame's agent).",
    ),
    field("users", "list of users", "none", "no name twice", "Further accounts."),
    field(
        "users.name",
        "user name",
        "required",
        "1 to 32 characters of a-z, 0-9, '_' and '-'",
        "The login name.",
    ),
    field("users.ssh_keys", "list of authorized_keys lines", "none", "", "The user's keys."),
    field(
        "users.password",
        "hash or generate",
        "",
        "one of the two",
        "The password. Without it the account has none.",
    ),
    field(
        "users.password.hash",
        "crypt(3) hash, such as $6$… or $y$…",
        "",
        "",
        "Made by 'mkpasswd -m yescrypt' or 'openssl passwd -6'. Never shown again.",
    ),
    field(
        "users.password.generate",
        "true",
        "",
        "the user needs an SSH key of type ssh-ed25519 or ssh-rsa",
        "The guest makes a password and seals it to the user's first key; 'mezame get password' \
         opens it.",
    ),
    field(
        "users.sudo",
        "true or false",
        "false",
        "",
        "Whether it may become root without a password.",
    ),
    field("users.groups", "list of group names", "none", "", "Groups besides its own."),
    field("users.shell", "path", "the guest's default", "absolute", "The login shell."),
    field(
        "users.stopped",
        "true or false",
        "false",
        "not of root",
        "The account stays, and nobody gets in: keys, sudo and password are off, its processes end.",
    ),
    field(
        "user_data",
        "text",
        "",
        USER_DATA_LIMIT,
        "A script (#!), #cloud-config or MIME archive that the guest runs at first boot.",
    ),
    field(
        "user_data_base64",
        "base64",
        "",
        USER_DATA_LIMIT,
        "The same for bytes that are no text: gzip, say.",
    ),
    field(
        "user_data_file",
        "path",
        "",
        USER_DATA_LIMIT,
        "The same from a file, relative to the seed's folder; read by this program.",
    ),
    field(
        "vendor_data",
        "text",
        "",
        USER_DATA_LIMIT,
        "Like user_data, but from the provider; runs before it.",
    ),
    field(
        "vendor_data_base64",
        "base64",
        "",
        USER_DATA_LIMIT,
        "The same for bytes that are no text.",
    ),
    field("vendor_data_file", "path", "", USER_DATA_LIMIT, "The same from a file."),
    field("tags", "map of texts", "none", "", "The tenant's labels; the guest can read them."),
    field(
        "secrets",
        "map of texts",
        "none",
        "names like those of instances; values of 64 KiB at most",
        "Values that the guest may read until it has acknowledged them, and never after. Never \
         shown again.",
    ),
    field(
        "tokens",
        "required, optional or off",
        "optional",
        "",
        "Whether a guest's requests need a session token (EC2: IMDSv2). off: it gets no metadata.",
    ),
    field(
        "hop_limit",
        "number",
        "1",
        "1 to 64",
        "The IP TTL of replies with a session token. Containers behind a bridge need 2.",
    ),
    field(
        "dialects",
        "list of ec2, openstack, gce, azure, digitalocean, hetzner, vultr, cloudstack, nocloud, mezame",
        "ec2, nocloud, mezame",
        "not empty; cloudstack not beside ec2 or openstack",
        "Which clients' paths are answered: that of the image's client, and mezame for our agent.",
    ),
    field("instance_type", "text", "m1.small", "", "The type that the guest is told."),
    field(
        "image_id",
        "ami- and 17 digits of 0-9 and a-f",
        "ami-00000000000000000",
        "",
        "The image that the guest is told.",
    ),
    field("zone", "letter", "a", "a to z", "The zone's letter within the region."),
    field("launch_index", "number", "0", "0 to 1048576", "Its place in a launch of several."),
    field(
        "block_devices",
        "map of texts",
        "none",
        "",
        "Disks that the guest is told of: name (root, ebs1, …) to device (vda, …).",
    ),
];
