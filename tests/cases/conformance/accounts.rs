//! Users, groups, passwords and keys.

use super::Case;

/// The hash that the documents use: nobody knows what it opens, and both must keep it as it is.
const HASH: &str = "$6$cSbrrFyg9P9kU8RA$rVkLPlKcSXxSIhgYgQqtsyHxNWIMDfyIYMBKw2PpHmSYhq9JyXCmHVyeZz1XgVPsvVIXK8T7aQ1JzcAwZyFIX1";

#[test]
fn the_default_user_gets_the_instances_keys_and_the_documents() {
    let both = Case::of("default-user.yaml").run();
    both.assert_alike();
    both.assert_found("sudo", "debian ALL=(ALL:ALL) NOPASSWD:ALL (440 0:0)");
    both.assert_found("user debian", "some number, debian, , /home/debian, /bin/sh");
}

#[test]
fn a_team_of_administrators_is_made_alike() {
    let both = Case::of("admins.yaml").run();
    both.assert_alike();
    both.assert_found("user ada", "some number, ada, Ada Lovelace, /home/ada, /bin/bash");
    both.assert_found("group docker", "some number: grace");
}

#[test]
fn a_list_without_default_makes_no_default_user_and_gives_nobody_the_instances_keys() {
    let both = Case::of("deploy-user.yaml").complains(&[("keys debian", "no-default-user")]).run();
    both.assert_alike();
    both.assert_found("sudo", "deploy ALL=(ALL) NOPASSWD:ALL (440 0:0)");
}

#[test]
fn an_empty_list_of_users_makes_nobody() {
    let both = Case::of("no-users.yaml").complains(&[("keys debian", "no-default-user")]).run();
    both.assert_alike();
}

#[test]
fn accounts_of_daemons_get_their_numbers_homes_and_groups() {
    let both = Case::of("service-accounts.yaml").numbered(&["app", "worker"]).run();
    both.assert_alike();
    both.assert_found("user app", "2500, app, The application, /opt/app, /usr/sbin/nologin");
    both.assert_found("user worker", "2600, app-data, , /home/worker, /bin/sh");
}

#[test]
fn groups_are_made_with_the_members_that_are_there() {
    let both = Case::of("groups.yaml").run();
    both.assert_alike();
    both.assert_found("group printing", "some number: games,man");
}

#[test]
fn a_hash_is_kept_and_locked_unless_the_account_says_otherwise() {
    let both = Case::of("passwords-by-hash.yaml").run();
    both.assert_alike();
    both.assert_found("password of console", &format!("{HASH}, set today, 0:99999:7:::"));
    both.assert_found("password of forgotten", &format!("!{HASH}, set today, 0:99999:7:::"));
}

#[test]
fn a_plain_password_opens_the_account_unless_it_is_locked() {
    let opens = [("student", "learn by doing"), ("teacher", "42")];
    let both = Case::of("passwords-in-plain-text.yaml").passwords(&opens).run();
    both.assert_alike();
    let opened = "opened by \"learn by doing\", set today, 0:99999:7:::";
    both.assert_found("password of student", opened);
    both.assert_found("password of teacher", "!opened by \"42\", set today, 0:99999:7:::");
}

#[test]
fn the_default_users_password_is_set_and_the_ssh_server_takes_it() {
    let both = Case::of("default-password.yaml").passwords(&[("debian", "passw0rd")]).run();
    both.assert_alike();
    both.assert_found("sshd", "passwordauthentication yes");
    both.assert_found("password of debian", "opened by \"passw0rd\", set today, 0:99999:7:::");
}

#[test]
fn a_password_expires_unless_the_document_says_that_it_stays() {
    let both = Case::of("expiring-password.yaml").passwords(&[("debian", "change me")]).run();
    both.assert_alike();
    both.assert_found(
        "password of debian",
        "opened by \"change me\", a new one is wanted, 0:99999:7:::",
    );
}

#[test]
fn lines_of_passwords_are_read_with_colons_and_hashes() {
    let opens = [("root", "toor: with a colon"), ("ada", "lovelace")];
    let both = Case::of("chpasswd-list.yaml").passwords(&opens).run();
    both.assert_alike();
    both.assert_found("password of bob", &format!("{HASH}, set today, 0:99999:7:::"));
}

#[test]
fn accounts_and_their_passwords_are_as_they_were_at_the_next_boot() {
    let opens = [("student", "learn by doing"), ("teacher", "42")];
    let both = Case::of("passwords-in-plain-text.yaml").passwords(&opens).twice().run();
    both.assert_alike();
}

#[test]
fn passwords_with_kinds_unlock_their_accounts_and_expire() {
    let both = Case::of("chpasswd-users.yaml").passwords(&[("ada", "lovelace")]).run();
    both.assert_alike();
    both.assert_found("password of bob", &format!("{HASH}, a new one is wanted, 0:99999:7:::"));
    both.assert_found(
        "password of ada",
        "opened by \"lovelace\", a new one is wanted, 0:99999:7:::",
    );
}

#[test]
fn a_random_password_is_made_by_cloud_init_alone_which_prints_it_on_the_console() {
    let both = Case::of("random-password.yaml")
        .passwords(&[("ada", "")])
        .complains(&[("random password ada", "unsupported-key")])
        .run();
    both.assert_alike_but(&[(
        "password of ada",
        "a hash that \"\" does not open, set today, 0:99999:7:::",
        "!, set today, 0:99999:7:::",
    )]);
}

#[test]
fn root_gets_the_keys_too_where_it_is_not_disabled() {
    let both = Case::of("root-login.yaml").run();
    both.assert_alike();
    assert!(both.ours["keys of root"].contains("operator"), "{:?}", both.ours);
}

#[test]
fn the_default_user_can_have_another_name() {
    let both = Case::of("renamed-default-user.yaml").run();
    both.assert_alike();
    both.assert_found("sshd", "passwordauthentication no");
    both.assert_found("user cloud", "some number, cloud, Cloud user, /home/cloud, /bin/bash");
}

#[test]
fn accounts_of_the_image_are_locked_and_get_keys_and_rights() {
    let both = Case::of("existing-accounts.yaml").run();
    // A place for keys, which nobody gave.
    both.assert_alike_but(&[("directory /var/www", "755 root:root", "-")]);
    assert!(both.ours["keys of root"].contains("rescue"), "{:?}", both.ours);
}

#[test]
fn what_of_an_account_is_not_supported_is_named_and_the_rest_is_made() {
    let both = Case::of("ending-account.yaml")
        .complains(&[("user-data users[1].expiredate", "unsupported-key")])
        .run();
    both.assert_alike_but(&[(
        "password of ada",
        "!, set today, 0:99999:7::21915:",
        "!, set today, 0:99999:7:::",
    )]);
}

#[test]
fn what_the_agent_does_otherwise_on_purpose_is_known() {
    let hash = "$y$j9T$F5Jx5fExrKuPp53xLKQ..1$X3DX6M94c7o.9agCG9G317fhZg9SqC.5i5rd.RhAtQ7";
    let both = Case::of("on-purpose.yaml")
        .passwords(&[("ada", hash)])
        .complains(&[
            ("user-data manage_etc_hosts", "unsupported-key"),
            ("user-data write_files[0].encoding", "bad-value"),
        ])
        .run();
    let opened = format!("opened by {hash:?}, set today, 0:99999:7:::");
    let kept = format!("a hash that {hash:?} does not open, set today, 0:99999:7:::");
    both.assert_alike_but(&[
        ("file /srv/unpacked", "644 root:root \"uryyb\"", "-"),
        ("group crew", "some number: ", "some number: ada"),
        ("group crew in gshadow", "!::{\"\"}", "!::{\"ada\"}"),
        ("hosts 169.254.169.254", "-", "data-server metadata metadata.google.internal"),
        ("hosts ::1", "ip6-localhost ip6-loopback localhost", "-"),
        ("hosts ff02::1", "ip6-allnodes", "-"),
        ("hosts ff02::2", "ip6-allrouters", "-"),
        ("password of ada", &opened, &kept),
    ]);
}

#[test]
fn a_mistake_ends_a_module_of_cloud_inits_and_one_step_of_the_agents() {
    let both = Case::of("mistakes.yaml")
        .passwords(&[("ada", "lovelace")])
        .complains(&[("keys debian", "no-default-user"), ("password nobody-here", "no-such-user")])
        .run();
    both.assert_found("password of ada", "opened by \"lovelace\", set today, 0:99999:7:::");
    let known = [
        ("/etc/subgid of bob", "-", "65536"),
        ("/etc/subuid of bob", "-", "65536"),
        ("file /srv/ran", "-", "644 root:root \"ran\\n\""),
        ("group readers", "-", "some number: "),
        ("group readers in gshadow", "-", "!::{\"\"}"),
        ("password of bob", "-", "!, set today, 0:99999:7:::"),
        ("user bob", "-", "some number, readers, , /home/bob, /bin/sh"),
    ];
    for module in ["users-groups", "set-passwords", "runcmd"] {
        both.assert_alike_with_errors(module, &known);
    }
}
