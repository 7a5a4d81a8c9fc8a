//! What a guest with Windows is planned to do, and what is told to be for others.

use super::*;

#[test]
fn a_windows_guest_gets_its_scripts_by_their_marks_and_is_told_what_is_for_others() {
    let document = document(json!({
        "ssh_keys": ["ssh-ed25519 AAAA me"],
        "users": [{"name": "ops", "sudo": true, "password": "generate"}],
        "interfaces": [{"mac": "52:54:00:00:00:01", "mtu": 1450, "addresses": []}],
        "tags": {"windows-startup-script-cmd": "echo", "sysprep-specialize-script-cmd": "echo"},
    }));
    let vendor = "#cloud-config\nruncmd: [a]\nbootcmd: [b]\nwrite_files:\n\
        - {path: 'C:\\srv\\a', content: x}\n- {path: /srv/b, content: x}\n";
    let user = "<powershell>exit 1</powershell><script>exit 2</script><persist>true</persist>";
    let facts = Facts {
        system: System::Windows,
        default_user: "Administrator".into(),
        licence: Some(crate::licence::Licence { key: None, host: None }),
        ..facts()
    };
    let history = History::default().entering(&document.instance_id, "boot-1");
    let parts = |text: &str| user_data::parse(text.as_bytes());
    let plan = plan(&document, &parts(vendor), &parts(user), &facts, &history, Mode::Boot);
    assert_eq!(
        plan.to_string(),
        "\
do      interface eth0: configure eth0 (52:54:00:00:00:01): mtu 1450, addresses , gateways [], dns [] [always]
do      network configuration: write the network configuration of eth0 [always]
do      hostname: set the host name to web [always]
do      own name: let the host find itself as web.example, web [always]
do      vendor-data file C:\\srv\\a: write 1 byte(s) to C:\\srv\\a (mode 0644, owner root) [per instance]
do      keys Administrator: let 1 key(s) log in as Administrator [always]
do      user ops: make sure that ops exists [always]
do      sudo ops: give ops sudo: ALL=(ALL:ALL) NOPASSWD:ALL [always]
do      generated password ops: make a password for ops and seal it to the user's key [per instance]
do      licence: activate the licence at 169.254.169.250 [per instance]
do      tag windows-startup-script-cmd: run tag-windows-startup-script-cmd (4 bytes) [per boot]
skip    tag sysprep-specialize-script-cmd: unsupported-key: this tag is not supported
do      user-data script 1: run user-data-script-1 (6 bytes) [per boot]
do      user-data script 2: run user-data-script-2 (6 bytes) [per boot]
skip    vendor-data runcmd: other-system: it is for Unix's shells, and this is Windows
skip    vendor-data bootcmd: other-system: it is for Unix's shells, and this is Windows
fail    vendor-data file /srv/b: bad-value: it is no absolute path of a file on this system
"
    );
}

#[test]
fn paths_of_windows_are_told_from_those_that_lead_elsewhere() {
    for good in [r"C:\a", "c:/a/b.txt", r"D:\Program Files\x"] {
        assert!(System::Windows.is_file_path(good), "{good}");
        assert!(!System::Unix.is_file_path(good), "{good}");
    }
    for bad in
        ["", "C:", r"C:\", r"C:a", r"\\host\share\a", r"C:\a:stream", r"C:\a\", "C:\\a\0", "/a"]
    {
        assert!(!System::Windows.is_file_path(bad), "{bad:?}");
    }
}
