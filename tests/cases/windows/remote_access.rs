//! Remote Desktop and WinRM on a Windows: what stands in the registry, in what order it is asked for,
//! and that nothing is done twice. Firewall, service and listener are written down: Wine has none.

use super::*;

/// Remote Desktop's settings; the rehearsal's own copy of them.
const SERVER: &str =
    r"HKLM\SOFTWARE\Mezame\Rehearsal\SYSTEM\CurrentControlSet\Control\Terminal Server";
/// A policy on it.
const POLICY: &str =
    r"HKLM\SOFTWARE\Mezame\Rehearsal\SOFTWARE\Policies\Microsoft\Windows NT\Terminal Services";

/// All numbers below Remote Desktop's key, by name.
fn numbers(guest: &Guest) -> Vec<(String, String)> {
    let said = guest.wine.output(&["reg", "query", SERVER, "/s"]).unwrap();
    let number = |line: &str| {
        let (name, value) = line.split_once("REG_DWORD")?;
        Some((name.trim().to_owned(), value.trim().to_owned()))
    };
    let mut all: Vec<_> = said.lines().filter_map(number).collect();
    all.sort();
    all
}

fn apply(guest: &mut Guest, desktop: Value, winrm: Value) {
    let instance = guest.documents.last_mut().unwrap();
    instance["remote_desktop"] = desktop;
    instance["winrm"] = winrm;
    guest.lab.operator.apply(&guest.documents).unwrap();
}

/// Runs the agent until a step has come to an end with this outcome and reason.
fn until(guest: &Guest, name: &str, outcome: Outcome, reason: &str) {
    wait::until(&format!("{name}: {outcome:?} {reason}"), SOON * 4, || {
        let run = guest.run();
        let found = step(&run, name);
        anyhow::ensure!((found.outcome, &*found.reason) == (outcome, reason), "{found:?}");
        Ok(())
    })
    .unwrap();
}

#[test]
fn ways_into_a_windows_are_set_once_moved_and_shut_and_a_policy_is_not_fought() {
    let mut guest = Guest::with(&json!({
        "remote_desktop": {"enabled": true, "port": 3390}, "winrm": {"https": true, "basic": true},
    }));
    let run = guest.run();
    for name in ["remote desktop", "winrm"] {
        assert_eq!(step(&run, name).outcome, Outcome::Done, "{run}");
    }
    let pairs = |all: &[(&str, &str)]| -> Vec<(String, String)> {
        all.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    };
    let [port, nla] = [("PortNumber", "0xd3e"), ("UserAuthentication", "0x1")];
    assert_eq!(numbers(&guest), pairs(&[port, nla, ("fDenyTSConnections", "0x0")]));
    let record = guest.record();
    assert_eq!(record["openings"], json!({"RemoteDesktop": 3390, "Winrm": 5986}));
    assert_eq!(record["desktop_restarts"], 1);
    let listens = json!([{"https": true, "port": 5986, "basic": true}, ["tenant-a"]]);
    assert_eq!(record["winrm"], listens);
    let run = guest.run();
    for name in ["remote desktop", "winrm"] {
        assert_eq!(step(&run, name).outcome, Outcome::Unchanged, "{run}");
    }

    // Without another port no session is cut.
    apply(&mut guest, json!({"enabled": true, "port": 3390, "nla": false}), Value::Null);
    until(&guest, "remote desktop", Outcome::Done, "");
    let open = [port, ("UserAuthentication", "0x0"), ("fDenyTSConnections", "0x0")];
    assert_eq!(numbers(&guest), pairs(&open));
    let record = guest.record();
    assert_eq!(record["desktop_restarts"], 1);
    assert_eq!(record["winrm"], listens, "what is not in the record is left alone");

    // Shut, both.
    apply(&mut guest, json!({"enabled": false}), json!({"https": false}));
    until(&guest, "winrm", Outcome::Done, "");
    let shut = [port, ("UserAuthentication", "0x0"), ("fDenyTSConnections", "0x1")];
    assert_eq!(numbers(&guest), pairs(&shut));
    let record = guest.record();
    assert_eq!((&record["openings"], &record["winrm"]), (&json!({}), &Value::Null));

    // A policy goes before it, and is said.
    let words = ["/v", "fDenyTSConnections", "/t", "REG_DWORD", "/d", "1", "/f"];
    guest.wine.output(&[&["reg", "add", POLICY][..], &words].concat()).unwrap();
    apply(&mut guest, json!({"enabled": true}), json!({"https": true}));
    until(&guest, "remote desktop", Outcome::Failed, "overruled");
    assert_eq!(numbers(&guest), pairs(&shut));

    // No image keeps a listener's key.
    assert_ne!(guest.record()["winrm"], Value::Null);
    guest.wine.output(&["C:\\guest-agent.exe", "--root", ROOT, "seal"]).unwrap();
    assert_eq!(guest.record()["winrm"], Value::Null);
}
