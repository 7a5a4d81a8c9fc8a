//! `write_files`.

use super::Case;

#[test]
fn files_get_their_modes_and_owners_and_missing_directories() {
    let both = Case::of("motd-and-cron.yaml").run();
    both.assert_alike();
    let content = "\"15 3 * * * root /usr/local/sbin/backup\\n\"";
    both.assert_found("file /etc/cron.d/backup", &format!("600 root:root {content}"));
    both.assert_found("directory /opt/vendor/etc/deep", "755 root:root");
    both.assert_found("file /srv/empty", "644 root:root \"\"");
}

#[test]
fn every_encoding_is_undone() {
    let both = Case::of("encoded-files.yaml").run();
    both.assert_alike();
    for name in ["base64", "base64-in-lines"] {
        both.assert_found(&format!("file /etc/app/{name}"), "644 root:root \"hello, world\\n\"");
    }
    for name in ["gzip", "packed-binary"] {
        both.assert_found(&format!("file /etc/app/{name}"), "644 root:root \"hi\"");
    }
}

#[test]
fn lines_are_added_and_a_file_is_written_twice() {
    let both = Case::of("appended-files.yaml").run();
    both.assert_alike();
    both.assert_found(
        "file /etc/sysctl.d/90-tuning.conf",
        "600 root:root \"vm.swappiness = 10\\nfs.file-max = 100000\\n\"",
    );
}

#[test]
fn lines_are_not_added_again_at_the_next_boot() {
    Case::of("appended-files.yaml").twice().run().assert_alike();
}

#[test]
fn deferred_files_come_after_the_users_and_before_the_commands() {
    let both = Case::of("deferred-files.yaml").run();
    both.assert_alike();
    both.assert_found("file /srv/seen", "644 root:root \"at oncetheme = dark\\n\"");
}

#[test]
fn a_file_whose_owner_is_missing_stops_cloud_init_and_not_the_agent() {
    let both = Case::of("file-of-a-missing-user.yaml")
        .complains(&[("user-data file /srv/of-ada", "no-such-user")])
        .run();
    let known = [
        ("file /srv/after", "-", "644 root:root \"after\""),
        ("file /srv/of-ada", "644 root:root \"ada's\"", "-"),
    ];
    both.assert_alike_with_errors("write-files", &known);
}

#[test]
fn a_mode_without_quotes_and_zero_is_octal_for_the_agent_alone() {
    let both = Case::of("mode-without-quotes.yaml").run();
    let known = [("file /srv/without", "1204 root:root \"b\"", "644 root:root \"b\"")];
    both.assert_alike_but(&known);
    both.assert_found("file /srv/with-zero", "644 root:root \"a\"");
}
