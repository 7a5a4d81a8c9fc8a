//! Names of the host and its users: who is the default user, who is locked, and who gets the keys.

use super::*;

/// The lines about host names.
fn named(user: &str) -> Vec<String> {
    let text = first(&document(json!({})), "", &format!("#cloud-config\n{user}"));
    let about = |line: &&str| line.contains("name: ");
    text.lines().filter(about).map(|line| line.replace(" [always]", "")).collect()
}

#[test]
fn the_hosts_name_is_the_short_one_unless_the_full_one_is_preferred() {
    for (user, host, own) in [
        ("", "web", "web.example, web"),
        ("hostname: db\n", "db", "web.example, db"),
        ("hostname: db.b.c\n", "db", "db.b.c, db"),
        ("fqdn: db.b.c\n", "db", "db.b.c, db"),
        ("hostname: x\nfqdn: db.b.c\n", "x", "db.b.c, x"),
        ("fqdn: db.b.c\nprefer_fqdn_over_hostname: true\n", "db.b.c", "db.b.c, db"),
        ("prefer_fqdn_over_hostname: true\n", "web.example", "web.example, web"),
    ] {
        let wanted = [
            format!("do      hostname: set the host name to {host}"),
            format!("do      own name: let the host find itself as {own}"),
        ];
        assert_eq!(named(user), wanted, "{user}");
    }
    let kept = named("preserve_hostname: true\n");
    assert_eq!(kept, ["skip    hostname: preserved: preserve_hostname is set"]);
    assert_eq!(named("manage_etc_hosts: false\n").len(), 1);
}

/// The plan of a guest whose default user is this one.
fn of_image(default_user: &str, extra: serde_json::Value, user: &str) -> String {
    let document = document(extra);
    let facts = Facts { default_user: default_user.into(), ..facts() };
    let user = user_data::parse(format!("#cloud-config\n{user}").as_bytes());
    let history = History::default().entering(&document.instance_id, "boot-1");
    plan(&document, &[], &user, &facts, &history, Mode::Boot).to_string()
}

#[test]
fn a_list_of_users_without_default_leaves_the_instances_keys_to_nobody_but_root() {
    let keys = || json!({"ssh_keys": ["ssh-rsa A"]});
    let text = of_image("debian", keys(), "users: [{name: ada}]\npassword: hunter2\n");
    assert!(!text.contains("debian exists") && text.contains("ada exists"), "{text}");
    assert!(text.contains("skip    keys debian: no-default-user:"), "{text}");
    assert!(text.contains("skip    password debian: no-default-user:"), "{text}");
    let text = of_image("debian", keys(), "users: [default, {name: ada}]\n");
    assert!(text.contains("do      keys debian: let 1 key(s)"), "{text}");
    let text = of_image("root", keys(), "users: [{name: ada}]\n");
    assert!(text.contains("do      keys root: let 1 key(s)"), "{text}");
}

#[test]
fn user_gives_the_default_user_another_name() {
    let seed = "user: {name: cloud, shell: /bin/bash}\nssh_authorized_keys: [ssh-rsa B]\n";
    let text = of_image("debian", json!({"ssh_keys": ["ssh-rsa A"]}), seed);
    assert!(text.contains("do      keys cloud: let 2 key(s)"), "{text}");
    assert!(text.contains("do      sudo cloud: give cloud sudo: ALL=(ALL:ALL)"), "{text}");
    assert!(!text.contains("debian"), "{text}");
}

#[test]
fn root_gets_the_default_users_keys_only_on_request() {
    let keys = || json!({"ssh_keys": ["ssh-rsa A"]});
    assert!(!of_image("debian", keys(), "disable_root: true\n").contains("keys root"));
    assert!(
        of_image("debian", keys(), "disable_root: false\n").contains("do      keys root: let 1")
    );
    let text = of_image("root", keys(), "disable_root: true\n");
    assert!(text.contains("skip    disable_root: unsupported-key"), "{text}");
}

#[test]
fn a_listed_account_is_locked_unless_a_word_or_a_password_opens_it() {
    let seed = "users:\n- {name: a}\n- {name: b, lock_passwd: false}\n- {name: c}\n- {name: ops}\n\
        - {name: e, plain_text_passwd: x}\nchpasswd: {list: ['c:x', 'gone:y', 'a:R']}\n";
    let operator = json!({"users": [{"name": "ops", "password": {"hash": "$6$salt$hash"}}]});
    let text = of_image("root", operator, seed);
    let locked: Vec<&str> = text.lines().filter(|line| line.contains("lock password")).collect();
    assert_eq!(
        locked,
        [
            "do      lock password a: lock a's password [per instance]",
            "do      lock password e: lock e's password [per instance]",
        ],
        "{text}"
    );
    assert!(text.contains("do      password gone") && !text.contains("user gone"), "{text}");
}
