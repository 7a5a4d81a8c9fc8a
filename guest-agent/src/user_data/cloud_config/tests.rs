//! The keys, each in the forms that people write.

use proptest::prelude::*;

use super::*;

fn config(text: &str) -> CloudConfig {
    parse(text.as_bytes()).unwrap()
}

fn skipped(text: &str) -> Vec<(String, &'static str)> {
    config(text).skipped.into_iter().map(|key| (key.path, key.reason)).collect()
}

#[test]
fn the_keys_that_people_use_are_read() {
    let config = config(
        "#cloud-config\nhostname: web\nfqdn: web.example.com\ntimezone: Asia/Tokyo\n\
         ssh_authorized_keys: [ssh-rsa A, ssh-rsa B]\npackage_update: yes\n\
         packages: [nginx, [curl, '7.88']]\ngrowpart: {mode: auto, devices: [/]}\nresize_rootfs: true\n\
         ntp: {servers: [10.0.0.1], pools: [pool.ntp.org]}\n\
         chpasswd: {expire: false, users: [{name: a, password: $6$x$y}, {name: b, type: RANDOM}]}\n\
         runcmd:\n- echo one\n- [echo, \"it's\", two]\nbootcmd: [date]\n",
    );
    assert_eq!(config.skipped, []);
    assert_eq!(config.hostname.as_deref(), Some("web"));
    assert_eq!(config.fqdn.as_deref(), Some("web.example.com"));
    assert_eq!(config.timezone.as_deref(), Some("Asia/Tokyo"));
    assert_eq!(config.ssh_authorized_keys.len(), 2);
    let packages = config.packages.unwrap();
    assert!(packages.update && packages.install == ["nginx", "curl=7.88"]);
    assert!(config.growpart && config.resize_rootfs && !config.expire);
    assert_eq!(config.passwords.len(), 2);
    assert_eq!(config.runcmd.unwrap(), b"#!/bin/sh\necho one\n'echo' 'it'\\''s' 'two'\n");
    assert_eq!(config.bootcmd.unwrap(), b"#!/bin/sh\ndate\n");
}

#[test]
fn users_are_read_with_groups_as_text_and_as_list() {
    let config = config(
        "users:\n- default\n- name: ops\n  groups: adm, wheel\n  sudo: ALL=(ALL) NOPASSWD:ALL\n  \
         shell: /bin/bash\n  ssh_authorized_keys: ssh-rsa A\n  lock_passwd: true\n- name: dev\n  \
         groups: [docker]\n  uid: 2000\n  no_create_home: true\n  sudo: false\n- plain\n",
    );
    assert_eq!(config.skipped, []);
    let names: Vec<&str> = config.users.iter().map(|user| user.account.name.as_str()).collect();
    assert_eq!(names, ["", "ops", "dev", "plain"]);
    assert!(config.users[0].is_default);
    assert_eq!(config.users[1].account.groups, ["adm", "wheel"]);
    assert_eq!(config.users[1].sudo.as_deref().unwrap(), ["ALL=(ALL) NOPASSWD:ALL"]);
    assert_eq!(config.users[2].account.uid, Some(2000));
    assert!(!config.users[2].account.make_home);
    assert_eq!(config.users[2].sudo.as_deref(), Some(&[][..]));
}

#[test]
fn files_are_decoded_and_a_mode_is_octal_with_quotes_and_without() {
    let config = config(
        "write_files:\n- {path: /a, content: text, permissions: 0600, owner: 'ops:ops'}\n\
         - {path: /b, content: aGk=, encoding: b64, permissions: '0755', append: true}\n\
         - {path: /c, content: !!binary aGk=, defer: true}\n\
         - {path: /d, content: H4sIAAAAAAAAA8vIBACsKpPYAgAAAA==, encoding: gz+b64}\n",
    );
    assert_eq!(config.skipped, []);
    assert_eq!(config.files[0].mode, 0o600);
    assert_eq!(config.files[0].owner.as_deref(), Some("ops:ops"));
    assert_eq!((config.files[1].content.as_slice(), config.files[1].mode), (&b"hi"[..], 0o755));
    assert!(config.files[1].append);
    assert_eq!(config.files[2].content, b"hi");
    assert_eq!(config.deferred_files[0].content, b"hi");
}

#[test]
fn the_passwords_expire_unless_chpasswd_says_no_before_or_after_them() {
    assert!(config("password: x\n").expire);
    assert!(config("chpasswd: {list: 'a:b'}\n").expire);
    assert!(!config("password: x\nchpasswd: {expire: false}\n").expire);
    assert!(!config("chpasswd: {expire: false}\npassword: x\n").expire);
}

#[test]
fn a_partition_grows_with_its_file_system_unless_that_is_refused() {
    let grown = |text: &str| {
        let config = config(text);
        (config.growpart, config.resize_rootfs)
    };
    assert_eq!(grown("growpart: {mode: auto}\n"), (true, true));
    assert_eq!(grown("resize_rootfs: false\ngrowpart: {mode: auto}\n"), (true, false));
    assert_eq!(grown("growpart: {mode: 'off'}\n"), (false, false));
    assert_eq!(grown("resize_rootfs: noblock\n"), (false, true));
    assert_eq!(skipped("resize_rootfs: noblock\n"), []);
}

#[test]
fn a_binary_content_that_is_packed_once_more_is_unpacked_in_whichever_order_it_is_written() {
    let packed = "H4sIAAAAAAAAA8vIBACsKpPYAgAAAA==";
    let config = config(&format!(
        "write_files:\n- {{path: /a, encoding: gzip, content: !!binary {packed}}}\n\
         - {{path: /b, content: !!binary {packed}, encoding: gzip}}\n"
    ));
    assert_eq!(config.skipped, []);
    assert!(config.files.iter().all(|file| file.content == b"hi"), "{:?}", config.files);
}

#[test]
fn a_file_whose_content_is_elsewhere_is_not_made_empty() {
    assert_eq!(config("write_files: [{path: /a, source: {uri: 'http://a'}}]\n").files, []);
    assert_eq!(config("write_files: [{path: /a}]\n").files.len(), 1);
}

#[test]
fn many_small_bombs_count_together() {
    use std::io::Write;
    let mut out = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    out.write_all(&vec![0; gzip::MAX_BYTES / 2 + 1]).unwrap();
    let bomb =
        base64::Engine::encode(&base64::engine::general_purpose::STANDARD, out.finish().unwrap());
    let config = config(&format!(
        "write_files:\n- {{path: /a, encoding: gz+b64, content: {bomb}}}\n\
         - {{path: /b, encoding: gz+b64, content: {bomb}}}\n"
    ));
    assert_eq!((config.files.len(), config.skipped.len()), (1, 1));
}

#[test]
fn of_several_passwords_of_a_user_the_one_that_cloud_init_sets_last_is_taken() {
    let config = config(
        "users:\n- {name: a, hashed_passwd: $6$h, plain_text_passwd: t, passwd: $6$p}\n\
         - {name: b, passwd: $6$p, plain_text_passwd: t, lock_passwd: false}\n\
         - {name: c, passwd: $6$p, lock-passwd: true}\n- {name: d, plain_text_passwd: ''}\n",
    );
    assert_eq!(config.skipped, []);
    let hash = |text: &str| Some(CloudPassword::Hash(SecretString::new(text.into())));
    let text = |text: &str| Some(CloudPassword::Text(SecretString::new(text.into())));
    let set: Vec<_> = config.users.into_iter().map(|user| (user.password, user.lock)).collect();
    assert_eq!(
        set,
        [(hash("$6$h"), None), (text("t"), Some(false)), (hash("$6$p"), Some(true)), (None, None),]
    );
}

#[test]
fn the_default_user_is_spoken_of_in_three_ways() {
    let config = config(
        "users: [default, {name: default, shell: /bin/sh}, {groups: adm}]\n\
         user: {name: ops, sudo: null}\n",
    );
    assert_eq!(config.skipped, []);
    assert!(config.names_users && config.users.iter().all(|user| user.is_default));
    assert_eq!(config.users[2].account.groups, ["adm"]);
    let renamed = config.default_user.unwrap();
    assert_eq!((renamed.account.name.as_str(), renamed.is_default), ("ops", false));
    assert_eq!(renamed.sudo, Some(Vec::new()));
    assert!(!super::parse(b"hostname: a\n").unwrap().names_users);
    assert!(super::parse(b"users: []\n").unwrap().names_users);
}

#[test]
fn groups_are_read_with_members_and_without() {
    let config = config("groups: [docker, 'a, b', {crew: [ada, bob]}, {empty: }, {one: ada}]\n");
    assert_eq!(config.skipped, []);
    let known: Vec<(&str, usize)> =
        config.groups.iter().map(|(name, members)| (name.as_str(), members.len())).collect();
    assert_eq!(known, [("docker", 0), ("a", 0), ("b", 0), ("crew", 2), ("empty", 0), ("one", 1)]);
    assert_eq!(super::parse(b"groups: {crew: ada}\n").unwrap().groups.len(), 1);
    assert_eq!(skipped("groups: ['a:b', [c]]\n").len(), 2);
}

#[test]
fn a_password_in_a_line_is_a_hash_only_if_it_is_whole() {
    let of =
        |line: &str| config(&format!("chpasswd: {{list: ['{line}']}}\n")).passwords.remove(0).1;
    assert!(matches!(of("a:$6$salt$hash"), CloudPassword::Hash(_)));
    assert!(matches!(of("a:$y$j9T$salt$hash"), CloudPassword::Hash(_)));
    assert!(matches!(of("a:R"), CloudPassword::Random));
    for text in ["a:$6$salt", "a:$6$$hash", "a:$9$salt$hash", "a:$6$salt$ha:sh", "a: R"] {
        assert!(matches!(of(text), CloudPassword::Text(_)), "{text}");
    }
}

#[test]
fn the_ssh_server_and_the_hosts_file_are_left_alone_without_a_word() {
    let silent = config("hostname: a\n");
    assert_eq!((silent.ssh_pwauth, silent.own_name_in_hosts), (None, None));
    assert_eq!(config("ssh_pwauth: 'yes'\n").ssh_pwauth, Some(true));
    assert_eq!(skipped("ssh_pwauth: unchanged\n"), []);
    assert_eq!(skipped("ssh_pwauth: perhaps\n").len(), 1);
    assert_eq!(config("manage_etc_hosts: localhost\n").own_name_in_hosts, Some(true));
    assert_eq!(config("manage_etc_hosts: false\n").own_name_in_hosts, Some(false));
    assert_eq!(
        skipped("manage_etc_hosts: true\n"),
        [("manage_etc_hosts".to_owned(), "unsupported-key")]
    );
}

#[test]
fn every_key_that_is_not_acted_on_is_named_with_its_place() {
    assert_eq!(
        skipped(
            "apt: {proxy: x}\nusers: [{name: a, ssh_import_id: [gh:a]}]\n\
             write_files: [{path: /a, source: {uri: x}}]\nchpasswd: {x: 1}\nntp: {ntp_client: x}\n"
        ),
        [
            ("apt", "unsupported-key"),
            ("users[0].ssh_import_id", "unsupported-key"),
            ("write_files[0].source", "unsupported-key"),
            ("chpasswd.x", "unsupported-key"),
            ("ntp.ntp_client", "unsupported-key"),
            ("ntp", "unsupported-key"),
        ]
        .map(|(path, reason)| (path.to_owned(), reason))
    );
}

#[test]
fn a_value_of_the_wrong_form_is_named_and_does_not_spoil_the_rest() {
    let text = "hostname: [a]\nruncmd: {a: 1}\nusers: [{name: 'a:b'}, {name: ok, gecos: 'x:y'}]\n\
        timezone: ../../etc/shadow x\nwrite_files: [{path: relative}]\npackages: [--pre-invoke=x]\n\
        ssh_authorized_keys: [[a]]\n";
    let config = config(text);
    let paths: Vec<&str> = config.skipped.iter().map(|key| key.path.as_str()).collect();
    assert_eq!(
        paths,
        [
            "hostname",
            "runcmd",
            "users[0].name",
            "users[1].gecos",
            "timezone",
            "write_files[0].path",
            "packages[0]",
            "ssh_authorized_keys[0]",
        ]
    );
    assert!(config.skipped.iter().all(|key| key.reason == "bad-value"));
    assert_eq!(config.users.len(), 1);
}

#[test]
fn no_secret_is_shown_by_debug_or_by_a_skipped_key() {
    let config =
        config("users: [{name: a, plain_text_passwd: hunter2}]\npassword: hunter2\napt: hunter2\n");
    assert!(!format!("{config:?}").contains("hunter2"));
}

#[test]
fn yaml_is_bounded_in_depth_nodes_and_aliases() {
    use yaml::YamlError;
    assert!(matches!(parse("[".repeat(100).as_bytes()), Err(YamlError::TooDeep { .. })));
    assert!(parse("[".repeat(1 << 20).as_bytes()).is_err());
    assert!(parse("- ".repeat(1 << 19).as_bytes()).is_err());
    let mut bomb = String::from("a0: &a0 [x,x,x,x,x,x,x,x]\n");
    for level in 1..30 {
        let last = level - 1;
        bomb.push_str(&format!("a{level}: &a{level} [*a{last},*a{last},*a{last},*a{last}]\n"));
    }
    assert!(matches!(parse(bomb.as_bytes()), Err(YamlError::TooManyNodes { .. })));
    assert!(matches!(parse(b"a: 1\na: 2\n"), Err(YamlError::DoubledKey { line: 2, .. })));
    assert!(matches!(parse(&[0xff, 0xfe, 0xff]), Err(YamlError::NotUtf8)));
    assert!(matches!(parse(b"a: {"), Err(YamlError::Syntax { .. })));
}

proptest! {
    #[test]
    fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
        let _ = parse(&bytes);
    }

    #[test]
    fn any_yaml_like_text_is_read_or_refused(
        text in "((users|runcmd|write_files|chpasswd|ntp|packages|name|path): ?|- |[\\[\\]{},&*!|>'\"#\n ]|[a-z0]{1,4}){0,120}"
    ) {
        let _ = parse(text.as_bytes());
    }
}
