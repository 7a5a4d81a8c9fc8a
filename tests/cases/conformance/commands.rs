//! Commands and scripts.

use super::Case;

#[test]
fn command_lists_are_run_as_texts_and_as_words_and_go_on_after_one_that_fails() {
    let both = Case::of("commands.yaml").run();
    both.assert_alike();
    both.assert_found("file /srv/boot", "644 root:root \"boot\\nit's words\\n\"");
    both.assert_found(
        "file /srv/www/index",
        "644 root:root \"text with substitution\\n1\\n2\\n3\\n\"",
    );
    both.assert_found("file /srv/directory", "644 root:root \"/\\n\"");
}

#[test]
fn scripts_and_runcmd_are_run_in_the_order_of_their_names() {
    let both = Case::of("order.mime").run();
    both.assert_alike();
    let order = "hook\\nbootcmd\\nper-once\\nper-boot\\n10-first\\nunnamed\\nruncmd\\nzz-last\\n";
    both.assert_found("file /srv/order", &format!("644 root:root \"{order}\""));
}

#[test]
fn at_the_next_boot_only_what_says_so_is_run_again() {
    let both = Case::of("order.mime").twice().run();
    both.assert_alike();
    let order = "hook\\nbootcmd\\nper-once\\nper-boot\\n10-first\\nunnamed\\nruncmd\\nzz-last\\n\
                 hook\\nbootcmd\\nper-boot\\n";
    both.assert_found("file /srv/order", &format!("644 root:root \"{order}\""));
}

#[test]
fn a_script_alone_is_run_by_its_own_interpreter() {
    let both = Case::of("script.sh").run();
    both.assert_alike();
    both.assert_found("file /srv/site/index.html", "644 root:root \"<h1>woken</h1>\\n\"");
}

#[test]
fn a_script_with_lines_of_windows_is_run() {
    let script = "#!/bin/sh\r\n# Typical of: an editor on Windows.\r\necho one > /srv/ran\r\n";
    let both = Case::of_text(script).run();
    both.assert_alike();
    both.assert_found("file /srv/ran", "644 root:root \"one\\n\"");
}

#[test]
fn a_boothook_is_run() {
    let both = Case::of("boothook.sh").run();
    both.assert_alike();
    both.assert_found("file /etc/early.conf", "644 root:root \"options single-request\\n\"");
}

#[test]
fn vendor_data_and_user_data_both_have_their_say() {
    let vendor = "#cloud-config\nwrite_files: [{path: /srv/vendor, content: v}]\ntimezone: UTC\n";
    let user = "#cloud-config\ntimezone: Asia/Tokyo\nruncmd: [date +%Z > /srv/zone]\n";
    let seed = serde_json::json!({"vendor_data": vendor, "user_data": user});
    let both = Case::seeded(&seed).run();
    both.assert_alike();
    both.assert_found("file /srv/zone", "644 root:root \"JST\\n\"");
    both.assert_found("file /srv/vendor", "644 root:root \"v\"");
}
