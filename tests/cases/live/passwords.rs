//! An operator asks a running guest for another password: it is made once, sealed to the owner's
//! key, and is the guest's own, also where the agent is killed meanwhile.

use std::collections::BTreeSet;

use mezame_tests::ssh::Key;

use super::{
    agent::{watching, watching_again},
    *,
};

/// A root of the agent's, with the user's line in its shadow file.
struct Guest {
    running: Running,
    key: Key,
}

impl Guest {
    fn start() -> Self {
        let mut running = Running::with(&["mezame"]);
        let key = Key::of("ed25519", running.lab.directory(), "owner").unwrap();
        let public = key.public().unwrap();
        let users = json!([{"name": "ops", "ssh_keys": [public], "password": {"generate": true}}]);
        running.apply("Instance", &json!({"users": users}));
        Self { running, key }
    }

    fn operator(&self, words: &[&str]) -> String {
        self.running.lab.operator.run(words).unwrap()
    }

    /// Asks for another password, and gives when that was.
    fn reset(&self) -> u64 {
        let asked = self.operator(&["reset", "password", "guest", "-p", "tenant-a", "-o", "json"]);
        serde_json::from_str::<Value>(&asked).unwrap()["asked_ms"].as_u64().unwrap()
    }

    /// What the guest has made so far: for which asks, the newest last.
    fn made(&self) -> Vec<Option<u64>> {
        let stored = self.running.lab.operator.passwords("tenant-a", "guest").unwrap();
        stored.iter().rev().map(|stored| stored.password.reset).collect()
    }

    fn until_made(&self) {
        let words = ["wait", "guest", "-p", "tenant-a", "--for", "password", "--timeout", "30s"];
        self.operator(&words);
    }

    fn password(&self) -> String {
        let key = self.key.private().to_str().unwrap();
        let words = ["get", "password", "guest", "-p", "tenant-a", "--identity", key];
        self.operator(&words).trim_end().to_owned()
    }

    /// Whether this password opens the account in the guest.
    fn is_opened_by(&self, root: &std::path::Path, password: &str) -> bool {
        let shadow = std::fs::read_to_string(root.join("etc/shadow")).unwrap();
        let line = shadow.lines().find(|line| line.starts_with("ops:")).unwrap();
        let mut parts = line.split(':').nth(1).unwrap().rsplit('$');
        // Before the salt there may stand how many rounds were made.
        let (hash, salt) = (parts.next().unwrap(), parts.next().unwrap());
        let mut openssl = process::command("openssl");
        let made = process::output(openssl.args(["passwd", "-6", "-salt", salt, password]));
        made.unwrap().trim().ends_with(&format!("${hash}"))
    }
}

#[test]
fn another_password_is_made_once_for_each_reset_and_is_the_guests_own() {
    let guest = Guest::start();
    let (mut agent, root) = watching(&guest.running);
    guest.until_made();
    let first = guest.password();
    assert!(guest.is_opened_by(&root, &first));
    let asked = guest.reset();
    guest.until_made();
    let second = guest.password();
    assert_ne!(first, second);
    assert!(guest.is_opened_by(&root, &second) && !guest.is_opened_by(&root, &first));
    // A restart makes no other one, and neither does the seed applied again.
    agent.kill().unwrap();
    let (_agent, _) = watching_again(&guest.running);
    guest.running.lab.operator.apply(&guest.running.documents).unwrap();
    let later = guest.reset();
    guest.until_made();
    assert_eq!(guest.made(), [None, Some(asked), Some(later)]);
    assert!(guest.is_opened_by(&root, &guest.password()));
}

#[test]
fn an_agent_that_is_killed_while_it_makes_one_comes_to_the_same_end() {
    let guest = Guest::start();
    let (mut agent, root) = watching(&guest.running);
    guest.until_made();
    for pause in [0, 5, 10, 15, 20, 30, 40, 60] {
        let asked = guest.reset();
        std::thread::sleep(Duration::from_millis(pause));
        agent.kill().unwrap();
        (agent, _) = watching_again(&guest.running);
        guest.until_made();
        // What was sent and not noted as sent is sent again, and is the same.
        let stored = guest.running.lab.operator.passwords("tenant-a", "guest").unwrap();
        let for_it = stored.iter().filter(|it| it.password.reset == Some(asked));
        let texts: BTreeSet<&str> = for_it.map(|it| it.password.sealed.as_str()).collect();
        assert_eq!(texts.len(), 1, "killed after {pause} ms");
        assert!(guest.is_opened_by(&root, &guest.password()), "killed after {pause} ms");
    }
}
