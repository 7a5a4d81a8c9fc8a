//! The agent for Windows under Wine, through the eBPF path, against the real metadata-server: whole
//! boots, passwords that the operator opens, scripts, and kills.
//!
//! It runs with a root of its own, as in a rehearsal: HTTP, files, scripts of cmd.exe, jobs, the
//! service manager and the registry are Wine's and true, accounts, name and power are written down.
//! Wine's PowerShell ends well and does nothing. See docs/windows.md for what only a Windows can show.

mod kill;
mod passwords;
mod people;
mod remote_access;

use std::{fs, path::PathBuf};

use mezame_model::report::{Outcome, StepReport};
use mezame_tests::{
    Lab,
    namespace_guest::NamespaceGuest,
    process,
    ssh::Key,
    wait::{self, SOON},
    wine::Wine,
};
use serde_json::{Value, json};

use crate::seeds::{self, MAC};

/// The agent's root in the Windows.
const ROOT: &str = r"C:\guest";
/// Where the system keeps the routes that last; the rehearsal's own copy of it.
const ROUTES: &str = r"HKLM\SOFTWARE\Mezame\Rehearsal\SYSTEM\CurrentControlSet\Services\Tcpip\Parameters\PersistentRoutes";
/// The agent's own key.
const AGENT: &str = r"HKLM\SOFTWARE\Mezame\Rehearsal\SOFTWARE\Mezame\GuestAgent";

/// A tenant's Windows guest, with the agent in it.
struct Guest {
    wine: Wine,
    documents: Vec<Value>,
    keys: [Key; 2],
    _guest: NamespaceGuest,
    lab: Lab,
}

impl Guest {
    fn with(more: &Value) -> Self {
        let lab = Lab::start().unwrap();
        let keys = [("rsa", "owner-rsa"), ("ed25519", "owner-ed25519")]
            .map(|(kind, name)| Key::of(kind, lab.directory(), name).unwrap());
        let [rsa, ed25519] = keys.each_ref().map(|key| key.public().unwrap());
        let mut all = json!({
            "dialects": ["mezame"], "tokens": "required", "ssh_keys": [ed25519],
            "users": [
                {"name": "ops", "ssh_keys": [rsa], "sudo": true, "password": {"generate": true}},
                {"name": "dev", "ssh_keys": [ed25519], "password": {"generate": true}},
            ],
        });
        all.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let documents = seeds::tenant("tenant-a", 1000, "tapa", &all);
        lab.operator.apply(&documents).unwrap();
        let guest = lab.guest("tapa", MAC, &["192.168.0.10/24"]).unwrap();
        seeds::until_known(&guest);
        let wine = Wine::boot(&guest, lab.directory()).unwrap();
        let program = wine.path("guest-agent.exe");
        let agent = &lab.binaries.agent_windows;
        fs::copy(agent, program)
            .unwrap_or_else(|error| panic!("{}: {error}; build the agent", agent.display()));
        let guest = Self { wine, documents, keys, _guest: guest, lab };
        guest.new_root();
        guest
    }

    /// Makes the root anew, as of a fresh disk.
    fn new_root(&self) {
        let root = self.file("");
        let _ = fs::remove_dir_all(&root);
        fs::create_dir_all(root).unwrap();
    }

    fn file(&self, path: &str) -> PathBuf {
        self.wine.path(r"guest").join(path)
    }

    fn text(&self, path: &str) -> String {
        fs::read_to_string(self.file(path)).unwrap_or_default()
    }

    /// Runs the agent to its end, and gives what it printed for programs.
    fn run(&self) -> Value {
        let words = ["C:\\guest-agent.exe", "--root", ROOT, "--json", "run", "--timeout", "60"];
        let ended = self.wine.run(&words).unwrap();
        serde_json::from_str(&ended.stdout)
            .unwrap_or_else(|error| panic!("{error}: {}{}", ended.stdout, ended.stderr))
    }

    /// What was written down of accounts, name and power.
    fn record(&self) -> Value {
        serde_json::from_str(&self.text("rehearsal.json")).unwrap()
    }

    /// The password that the operator opens with a key.
    fn password(&self, user: &str, key: &Key) -> String {
        let private = key.private().to_str().unwrap();
        let words = ["get", "password", "guest", "-p", "tenant-a", "--user", user, "--identity"];
        let mut words = words.to_vec();
        words.push(private);
        self.lab.operator.run(&words).unwrap().trim_end().to_owned()
    }

    /// Whether a user has this password in the guest.
    fn has_password(&self, user: &str, password: &str) -> bool {
        let record = self.record();
        let hash = record["passwords"][user].as_str().unwrap();
        let (head, wanted) = hash.rsplit_once('$').unwrap();
        let (_, salt) = head.rsplit_once('$').unwrap();
        let mut openssl = process::command("openssl");
        let made = process::output(openssl.args(["passwd", "-6", "-salt", salt, password]));
        let (_, made) = made.as_ref().unwrap().trim().rsplit_once('$').unwrap();
        made == wanted
    }
}

fn step(run: &Value, name: &str) -> StepReport {
    let steps: Vec<StepReport> = serde_json::from_value(run["report"]["steps"].clone()).unwrap();
    let known: Vec<String> = steps.iter().map(|step| step.step.clone()).collect();
    let found = steps.into_iter().find(|step| step.step == name);
    found.unwrap_or_else(|| panic!("no step {name:?} in {known:?}"))
}

/// A batch script of EC2's form: counts its runs, and asks once to be run again after a reboot.
const USER_DATA: &str = r#"<powershell>
Write-Host "PowerShell is a stand-in here"
</powershell>
<script>
echo run>>"%MEZAME_ROOT%\ran-script"
echo said on standard output
echo and on standard error 1>&2
if exist "%MEZAME_ROOT%\second" exit /b 0
echo x>"%MEZAME_ROOT%\second"
exit /b 1003
</script>"#;

#[test]
fn a_whole_boot_of_a_windows_guest_is_configured_scripted_and_reported() {
    let mut guest = Guest::with(&json!({
        "user_data": USER_DATA, "secrets": {"join-token": "hunter2"},
        "tags": {"windows-startup-script-cmd": "echo boot>>%MEZAME_ROOT%\\ran-tag"},
    }));
    let stale = "169.254.169.254,255.255.255.255,10.9.9.1,15";
    for route in [stale, "10.1.0.0,255.255.0.0,10.9.9.1,1"] {
        guest.wine.output(&["reg", "add", ROUTES, "/v", route, "/d", "", "/f"]).unwrap();
    }

    // The first boot: all but the scripts, then a reboot for the name.
    let first = guest.run();
    assert_eq!(step(&first, "reboot for the host name tenant-a").outcome, Outcome::Done, "{first}");
    assert_eq!(step(&first, "user-data script 1").reason, "after-reboot");
    assert_eq!(first["reported"], true);
    let record = guest.record();
    assert_eq!(record["reboots"], json!(["the host name becomes tenant-a"]));
    assert_eq!(record["administrators"], json!(["Administrator", "ops"]));
    let routes = guest.wine.output(&["reg", "query", ROUTES]).unwrap();
    assert!(!routes.contains("169.254.169.254") && routes.contains("10.1.0.0"), "{routes}");
    assert_eq!(guest.text("ProgramData/Mezame/GuestAgent/secrets/join-token"), "hunter2");
    assert_keys(&guest);
    let id = shown(&guest, "BootId");

    // The second: the script asks to be run again.
    guest.wine.reboot().unwrap();
    let second = guest.run();
    assert_ne!(shown(&guest, "BootId"), id, "another boot has another id");
    assert_eq!(step(&second, "user-data script 1").reason, "again-at-next-boot", "{second}");
    assert_eq!(step(&second, "user-data script 2").reason, "after-reboot");
    assert_eq!(guest.record()["reboots"].as_array().unwrap().len(), 2);
    assert_eq!(guest.record()["name"], "tenant-a");
    let said = guest.text("ProgramData/Mezame/GuestAgent/output/user-data-script-1.log");
    assert!(said.contains("said on standard output") && said.contains("and on standard error"));

    // The third: it comes to its end, and so does the other one, by Wine's stand-in for PowerShell.
    guest.wine.reboot().unwrap();
    let third = guest.run();
    for name in ["user-data script 1", "user-data script 2"] {
        assert_eq!(step(&third, name).outcome, Outcome::Done, "{third}");
    }
    let script = guest.text("ProgramData/Mezame/GuestAgent/scripts/user-data-script-2.ps1");
    assert_eq!(script, "Write-Host \"PowerShell is a stand-in here\"\n");
    // In the same boot nothing is done twice.
    guest.run();
    assert_eq!(guest.text("ran-script").lines().count(), 2);
    assert_eq!(guest.text("ran-tag").lines().count(), 2, "each boot but the first");

    // What the operator has of it.
    let [rsa, ed25519] = &guest.keys;
    for (user, key) in [("ops", rsa), ("dev", ed25519)] {
        let password = guest.password(user, key);
        assert_eq!(password.len(), 20);
        assert!(guest.has_password(user, &password), "{user}'s password");
    }
    let reports = guest.lab.operator.reports("tenant-a", "guest").unwrap();
    assert!(reports.len() >= 3, "{reports:?}");
    let query = guest.wine.output(&["reg", "query", AGENT]).unwrap();
    assert!(query.contains("InstanceId") && query.contains("unchanged"), "{query}");
}

/// A value that the agent shows in the registry.
fn shown(guest: &Guest, name: &str) -> String {
    let query = guest.wine.output(&["reg", "query", AGENT, "/v", name]).unwrap();
    let value = query.lines().find(|line| line.contains(name)).unwrap();
    value.split_whitespace().last().unwrap().to_owned()
}

/// Administrators share a file, in which each has a block; others have their own.
fn assert_keys(guest: &Guest) {
    let [rsa, ed25519] = guest.keys.each_ref().map(|key| key.public().unwrap());
    let shared = guest.text("ProgramData/ssh/administrators_authorized_keys");
    let lines: Vec<&str> = shared.lines().filter(|line| !line.starts_with('#')).collect();
    assert_eq!(lines, [&*ed25519, &*rsa], "{shared}");
    assert!(shared.contains("(ops)") && shared.contains("(Administrator)"), "{shared}");
    assert!(guest.text("Users/dev/.ssh/authorized_keys").contains(&ed25519));
}

#[test]
fn as_a_service_it_configures_the_guest_follows_changes_and_can_be_removed() {
    let mut guest = Guest::with(&json!({}));
    let words = ["C:\\guest-agent.exe", "--root", ROOT, "install"];
    assert_eq!(guest.wine.output(&words).unwrap().trim(), "done");
    assert_eq!(guest.wine.output(&words).unwrap().trim(), "it was so already");
    // It starts by itself with the system, and was rebooted for its name.
    guest.wine.output(&["net", "start", "MezameGuestAgent"]).unwrap();
    until_text(&guest, "rehearsal.json", "\"name\": \"tenant-a\"");
    guest.wine.reboot().unwrap();
    guest.wine.output(&["cmd", "/c", "ver"]).unwrap();
    let keys = "ProgramData/ssh/administrators_authorized_keys";
    let added =
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIKTu3ewZ3Nq0vXnE0lH0zR1mJZ6vXqYxkqgq0Yx2a7bD eve";
    guest.documents.last_mut().unwrap()["ssh_keys"] = json!([added]);
    guest.lab.operator.apply(&guest.documents).unwrap();
    until_text(&guest, keys, added);
    let words = ["C:\\guest-agent.exe", "--root", ROOT, "uninstall"];
    assert_eq!(guest.wine.output(&words).unwrap().trim(), "done");
    assert_eq!(guest.wine.output(&words).unwrap().trim(), "it was so already");

    // What an image must not hold is gone after that.
    let words = ["C:\\guest-agent.exe", "--root", ROOT, "seal"];
    guest.wine.output(&words).unwrap();
    // What users were given on this disk is still known, and nothing else.
    let state = guest.file("ProgramData/Mezame/GuestAgent");
    let left: Vec<_> = fs::read_dir(&state).unwrap().map(|it| it.unwrap().file_name()).collect();
    assert_eq!(left, ["ledger"]);
    let ledger = fs::read_to_string(state.join("ledger")).unwrap();
    assert!(ledger.lines().all(|line| line.contains("right")), "{ledger}");
    assert!(!guest.wine.run(&["reg", "query", AGENT]).unwrap().status.success());
}

fn until_text(guest: &Guest, path: &str, wanted: &str) {
    wait::until(&format!("{wanted:?} in {path}"), SOON * 4, || {
        let text = guest.text(path);
        anyhow::ensure!(text.contains(wanted), "it holds {text:?}");
        Ok(())
    })
    .unwrap();
}
