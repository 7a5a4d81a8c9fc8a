//! The forms that user-data comes in.

use std::io::Write;

use super::Case;

#[test]
fn parts_are_merged_by_the_rules_that_they_name() {
    let both = Case::of("merged.mime").run();
    both.assert_alike();
    both.assert_found("file /srv/ran", "644 root:root \"first\\nbase\\nadded\\n\"");
    both.assert_found("kernel's host name", "base\n");
}

#[test]
fn without_a_rule_a_later_part_replaces_an_earlier_ones_keys() {
    let both = Case::of("replaced.mime").run();
    both.assert_alike();
    both.assert_found("file /srv/ran", "644 root:root \"two\\n\"");
    both.assert_found("file /srv/one", "644 root:root \"one\"");
}

#[test]
fn gzip_is_undone() {
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    packed
        .write_all(b"#cloud-config\nwrite_files: [{path: /srv/packed, content: unpacked}]\n")
        .unwrap();
    let both = Case::of_bytes(&packed.finish().unwrap()).run();
    both.assert_alike();
    both.assert_found("file /srv/packed", "644 root:root \"unpacked\"");
}

#[test]
fn an_included_address_is_followed_where_the_setting_says_so() {
    // The provider's script can be fetched here without another server; so it runs twice.
    let seed = serde_json::json!({
        "vendor_data": "#!/bin/sh\necho included >> /srv/included\n",
        "user_data": "#include\nhttp://169.254.169.254/nocloud/vendor-data\n",
    });
    let both = Case::seeded(&seed).setting("follow_includes: true\n").run();
    both.assert_alike();
    both.assert_found("file /srv/included", "644 root:root \"included\\nincluded\\n\"");
}

#[test]
fn a_template_is_filled_in_by_cloud_init_alone_and_refused_aloud() {
    let both =
        Case::of("template.yaml").complains(&[("user-data part 1", "unsupported-template")]).run();
    both.assert_alike_but(&[
        ("file /etc/hostname", "644 root:root \"web-unknown\\n\"", "644 root:root \"woken\\n\""),
        ("hosts 127.0.1.1", "web-unknown woken.tenant.example", "woken woken.tenant.example"),
        ("kernel's host name", "web-unknown\n", "woken\n"),
    ]);
}
