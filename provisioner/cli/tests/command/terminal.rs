//! On a terminal: colour, questions, passphrases. `script` (of Debian's essential bsdutils) makes
//! the terminal.

use std::{
    io::{Read, Write},
    process::{Child, Command, Stdio},
};

use mezame_model::api::Kind;
use serde_json::json;

use crate::{command, fake::Fake, people, write};

/// The command at a terminal of its own.
struct Terminal {
    child: Child,
    seen: String,
}

impl Terminal {
    /// With a variable of its environment.
    fn start(fake: &Fake, (name, value): (&str, &str), arguments: &str) -> Self {
        let mezame = env!("CARGO_BIN_EXE_mezame");
        // For the environment and the folder; what is run is `script`.
        let plain = command(fake.path());
        let mut script = Command::new("script");
        script.env_clear().envs(plain.get_envs().filter_map(|(k, v)| Some((k, v?))));
        script.env("MEZAME_SERVER", fake.socket()).env("TERM", "xterm").current_dir(fake.path());
        script.args(["-qec", &format!("tty; {mezame} {arguments}"), "/dev/null"]);
        script.env(name, value);
        let child = script.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        Self { child, seen: String::new() }
    }

    /// Reads until the terminal shows a text.
    fn until(&mut self, text: &str) -> &mut Self {
        let mut byte = [0];
        while !self.seen.ends_with(text) {
            let read = self.child.stdout.as_mut().unwrap().read(&mut byte).unwrap();
            assert!(read > 0, "ended before {text:?}: {}", self.seen);
            self.seen.push(char::from(byte[0]));
        }
        self
    }

    /// Waits until what is typed is no longer shown. The terminal's name is its first line.
    fn until_silent(&mut self) -> &mut Self {
        let name = self.seen.lines().next().unwrap_or_default().to_owned();
        loop {
            let stty = Command::new("stty").args(["-a", "-F", &name]).output().unwrap();
            assert!(stty.status.success(), "{name} is gone: {}", self.seen);
            if String::from_utf8_lossy(&stty.stdout).contains(" -echo ") {
                return self;
            }
            assert_eq!(self.child.try_wait().unwrap(), None, "{}", self.seen);
        }
    }

    fn answer(&mut self, text: &str) -> &mut Self {
        writeln!(self.child.stdin.as_mut().unwrap(), "{text}").unwrap();
        self
    }

    /// The exit code, and all that was shown.
    fn end(mut self) -> (i32, String) {
        let mut rest = Vec::new();
        self.child.stdout.as_mut().unwrap().read_to_end(&mut rest).unwrap();
        self.seen.push_str(&String::from_utf8_lossy(&rest));
        (self.child.wait().unwrap().code().unwrap(), std::mem::take(&mut self.seen))
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn a_person_at_a_terminal_sees_colour_unless_it_is_unwanted() {
    let fake = Fake::start();
    write(&fake, "a.yaml", "kind: Project\nname: demo\n");
    let (code, seen) = Terminal::start(&fake, ("LC_ALL", "C"), "apply -f a.yaml --dry-run").end();
    assert_eq!(code, 0);
    assert!(seen.contains("\u{1b}[32m+ Project demo\u{1b}[0m"), "{seen}");
    let (_, seen) = Terminal::start(&fake, ("NO_COLOR", "1"), "apply -f a.yaml --dry-run").end();
    assert!(!seen.contains('\u{1b}') && seen.contains("+ Project demo"), "{seen}");
}

#[test]
fn a_disk_is_not_shown_on_a_terminal_and_not_even_asked_for() {
    let fake = Fake::start();
    let arguments = "disk web -p demo --format cidata --to -";
    let (code, seen) = Terminal::start(&fake, ("LC_ALL", "C"), arguments).end();
    assert_eq!(code, 2, "{seen}");
    assert!(seen.contains("name a file with --to"), "{seen}");
    assert!(fake.contents().asked.is_empty(), "{:?}", fake.contents().asked);
}

#[test]
fn the_passphrase_of_a_key_is_asked_for() {
    let fake = Fake::start();
    let password = people::sealed(&fake, "key", "ed25519", "open sesame", "alice");
    fake.contents().passwords = vec![password];
    let arguments = "get password web -p demo -i key";
    let mut terminal = Terminal::start(&fake, ("LC_ALL", "C"), arguments);
    terminal.until("OpenSSH key 'key': ").until_silent().answer("open sesame");
    let (code, seen) = terminal.end();
    assert_eq!(code, 0, "{seen}");
    assert!(seen.contains("correct-horse-alice") && !seen.contains("open sesame"), "{seen}");
    let mut terminal = Terminal::start(&fake, ("LC_ALL", "C"), arguments);
    terminal.until("OpenSSH key 'key': ").until_silent().answer("wrong");
    let (code, seen) = terminal.end();
    assert_eq!(code, 1);
    assert!(seen.contains("the key's passphrase was not right"), "{seen}");
}

#[test]
fn the_editor_is_offered_again_after_a_fault() {
    let fake = Fake::start();
    let spec = json!({"kind": "Network", "project": "demo", "name": "lan", "vni": 1000});
    fake.put(Kind::Network, spec, json!({}));
    // Breaks the file the first time and mends it the second.
    write(
        &fake,
        "editor.sh",
        "if grep -q '\\[' \"$1\"; then sed -i 's/\\[/2000/' \"$1\"; else sed -i s/1000/[/ \"$1\"; fi\n",
    );
    let editor = ("EDITOR", "sh editor.sh");
    let mut terminal = Terminal::start(&fake, editor, "edit network lan -p demo");
    terminal.until("again? [Y/n] ").answer("y");
    let (code, seen) = terminal.end();
    assert_eq!(code, 0, "{seen}");
    assert!(seen.contains("network demo/lan changed; generation 2"), "{seen}");
    assert_eq!(fake.contents().body["vni"], 2000);
}
