//! What one of the two seeds, vendor-data or user-data, asks for, as steps.

use std::borrow::Cow;

use mezame_model::report::Outcome;

use crate::{
    facts::System,
    step::{Action, FileSpec, Fingerprint, Frequency, Language, Packages, Script, Step},
    user_data::{
        Content, Part,
        cloud_config::{self, CloudConfig},
        merge::Rule,
        yaml::{self, Node},
    },
};

/// The steps of a seed, by the phase that they belong to, and what it asks for of accounts.
pub(super) struct Seed {
    system: System,
    pub(super) config: CloudConfig,
    pub(super) boot: Vec<Step>,
    pub(super) files: Vec<Step>,
    pub(super) disk: Vec<Step>,
    pub(super) clock: Vec<Step>,
    pub(super) packages: Vec<Step>,
    pub(super) last: Vec<Step>,
    pub(super) settled: Vec<(String, Outcome, &'static str, String)>,
}

impl Seed {
    pub(super) fn read(origin: &str, parts: &[Part], system: System) -> Self {
        let mut settled = Vec::new();
        let config = cloud_config::read(&merged(origin, parts, &mut settled));
        let mut seed = Self {
            system,
            config,
            boot: Vec::new(),
            files: Vec::new(),
            disk: Vec::new(),
            clock: Vec::new(),
            packages: Vec::new(),
            last: Vec::new(),
            settled,
        };
        seed.scripts(origin, parts);
        seed.cloud_config(origin);
        seed
    }

    fn scripts(&mut self, origin: &str, parts: &[Part]) {
        let (mut hooks, mut count) = (0, 0);
        let mut scripts: Vec<(Place, Step)> = Vec::new();
        for part in parts {
            match &part.content {
                Content::Boothook(body) => {
                    hooks += 1;
                    let key = format!("{origin} boothook {hooks}");
                    if self.is_for_us(&key, System::Unix) {
                        let body = &*with_unix_lines(body);
                        let list = self.boot.iter();
                        // The same script twice in one user-data is two scripts.
                        let twin = list.filter(|step| is_run_of(&step.action, body)).count();
                        let step = run(key, Frequency::PerBoot, body, &Language::Shebang, twin);
                        self.boot.push(step);
                    }
                }
                Content::Script { body, frequency, language } => {
                    count += 1;
                    let key = format!("{origin} script {count}");
                    if self.is_for_us(&key, language.system()) {
                        let body = &*with_unix_lines(body);
                        let list = scripts.iter();
                        let twin = list.filter(|(_, step)| is_run_of(&step.action, body)).count();
                        let place = Place::of(*frequency, part);
                        scripts.push((place, run(key, *frequency, body, language, twin)));
                    }
                }
                Content::CloudConfig { .. } => {}
                Content::Include { .. } => {
                    let detail = "the list was not followed".to_owned();
                    let key = format!("{origin} {}", part.name);
                    self.settled.push((key, Outcome::Skipped, "include-refused", detail));
                }
                Content::Refused { reason, detail } => {
                    let outcome =
                        if *reason == "damaged" { Outcome::Failed } else { Outcome::Skipped };
                    let key = format!("{origin} {}", part.name);
                    self.settled.push((key, outcome, reason, detail.clone()));
                }
            }
        }
        if let Some(body) = self.config.runcmd.clone() {
            let key = format!("{origin} runcmd");
            if self.is_for_us(&key, System::Unix) {
                let place = Place { class: Class::Instance, name: "runcmd".into() };
                let step = run(key, Frequency::PerInstance, &body, &Language::Shebang, 0);
                scripts.push((place, step));
            }
        }
        scripts.sort_by(|one, other| one.0.cmp(&other.0));
        self.last.extend(scripts.into_iter().map(|(_, step)| step));
    }

    /// Whether code is for this system; what is not is settled.
    fn is_for_us(&mut self, key: &str, system: System) -> bool {
        if system == self.system {
            return true;
        }
        let detail = match system {
            System::Unix => "it is for Unix's shells, and this is Windows",
            System::Windows => "it is for Windows, and this is another system",
        };
        self.settled.push((key.to_owned(), Outcome::Skipped, "other-system", detail.to_owned()));
        false
    }

    fn cloud_config(&mut self, origin: &str) {
        if let Some(body) = self.config.bootcmd.clone() {
            let key = format!("{origin} bootcmd");
            if self.is_for_us(&key, System::Unix) {
                // After the hooks, which are to come before everything.
                self.boot.push(run(key, Frequency::PerBoot, &body, &Language::Shebang, 0));
            }
        }
        let config = &self.config;
        let settled = &mut self.settled;
        for (list, files) in
            [(&mut self.files, &config.files), (&mut self.last, &config.deferred_files)]
        {
            for at in 0..files.len() {
                match file_step(origin, files, at, self.system) {
                    Ok(step) => list.push(step),
                    Err((key, detail)) => {
                        settled.push((key, Outcome::Failed, "bad-value", detail));
                    }
                }
            }
        }
        // Deferred files come before the scripts that may need them.
        self.last.sort_by_key(|step| !matches!(step.action, Action::File(_)));
        if config.growpart || config.resize_rootfs {
            self.disk.push(Step {
                key: format!("{origin} growpart"),
                frequency: Frequency::PerBoot,
                fingerprint: None,
                action: Action::Grow {
                    partition: config.growpart,
                    filesystem: config.resize_rootfs,
                },
            });
        }
        let always = |key: &str, action| Step {
            key: format!("{origin} {key}"),
            frequency: Frequency::Always,
            fingerprint: None,
            action,
        };
        if let Some(zone) = &config.timezone {
            self.clock.push(always("timezone", Action::Timezone(zone.clone())));
        }
        if let Some(ntp) = &config.ntp {
            self.clock.push(always("ntp", Action::Ntp(ntp.clone())));
        }
        if let Some(packages) = &config.packages {
            self.packages.push(Step {
                key: format!("{origin} packages"),
                frequency: Frequency::PerInstance,
                fingerprint: Some(of_packages(packages)),
                action: Action::Packages(packages.clone()),
            });
        }
        for key in &config.skipped {
            let outcome =
                if key.reason == "bad-value" { Outcome::Failed } else { Outcome::Skipped };
            let name = format!("{origin} {}", key.path);
            self.settled.push((name, outcome, key.reason, key.detail.clone()));
        }
    }
}

/// The step that writes the file at this place of a list; or its key, and why there is none.
fn file_step(
    origin: &str,
    files: &[FileSpec],
    at: usize,
    system: System,
) -> Result<Step, (String, String)> {
    let (before, file) = (&files[..at], &files[at]);
    if !system.is_file_path(&file.path) {
        let detail = "it is no absolute path of a file on this system".to_owned();
        return Err((format!("{origin} file {}", file.path), detail));
    }
    let fingerprint = Fingerprint::of(&[
        b"file",
        file.path.as_bytes(),
        &file.content,
        &file.mode.to_be_bytes(),
        file.owner.as_deref().unwrap_or_default().as_bytes(),
        &[u8::from(file.append)],
        // An entry that is there twice is done twice, which matters to an append.
        &before.iter().filter(|other| *other == file).count().to_be_bytes(),
    ]);
    let same = before.iter().filter(|other| other.path == file.path).count();
    let nth = if same == 0 { String::new() } else { format!(" ({})", same + 1) };
    Ok(Step {
        key: format!("{origin} file {}{nth}", file.path),
        frequency: Frequency::PerInstance,
        fingerprint: Some(fingerprint),
        action: Action::File(file.clone()),
    })
}

/// Where a script of the first boot's end comes among the others. cloud-init keeps those of each
/// frequency in a directory of its own and runs what lies there by name, as run-parts(8) does; so
/// do people who name their parts `01-first` and `02-second` expect it.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    class: Class,
    name: String,
}

/// The directories, in the order in which they are run.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Class {
    Once,
    Boot,
    /// Of the instance, `runcmd` included: its file is called so.
    Instance,
}

impl Place {
    fn of(frequency: Frequency, part: &Part) -> Self {
        let class = match frequency {
            Frequency::Once => Class::Once,
            Frequency::PerBoot => Class::Boot,
            Frequency::PerInstance | Frequency::Always => Class::Instance,
        };
        let number = part.name.strip_prefix("part ").and_then(|text| text.parse::<u32>().ok());
        let kept = |char: char| char.is_ascii_alphanumeric() || "-_.()".contains(char);
        let name = match number {
            // How cloud-init calls a part that has no name of its own.
            Some(number) => format!("part-{number:03}"),
            None => part.name.replace('/', "_").chars().filter(|char| kept(*char)).collect(),
        };
        Self { class, name }
    }
}

/// The kernel would look for an interpreter whose name ends with a carriage return: a script that
/// was written with lines of Windows gets those of Unix, where its first line is one.
fn with_unix_lines(body: &[u8]) -> Cow<'_, [u8]> {
    let end = body.iter().position(|byte| *byte == b'\n').unwrap_or_default();
    if !body.starts_with(b"#!") || end == 0 || body[end - 1] != b'\r' {
        return Cow::Borrowed(body);
    }
    let mut out = Vec::with_capacity(body.len());
    for (at, byte) in body.iter().enumerate() {
        if *byte != b'\r' || body.get(at + 1) != Some(&b'\n') {
            out.push(*byte);
        }
    }
    Cow::Owned(out)
}

/// Of the fields as they are. It is kept for as long as the instance lives, so nothing that a
/// later version may say in another way belongs into it.
fn of_packages(packages: &Packages) -> Fingerprint {
    let Packages { update, upgrade, install } = packages;
    let flags = [u8::from(*update), u8::from(*upgrade)];
    let mut pieces: Vec<&[u8]> = vec![b"packages", &flags];
    pieces.extend(install.iter().map(String::as_bytes));
    Fingerprint::of(&pieces)
}

fn is_run_of(action: &Action, body: &[u8]) -> bool {
    matches!(action, Action::Run(script) if script.body == body)
}

/// The step of a script. The key says whether the vendor or the tenant wrote it, and of which kind
/// it is: that is part of what it is.
pub(super) fn run(
    key: String,
    frequency: Frequency,
    body: &[u8],
    language: &Language,
    twin: usize,
) -> Step {
    let kind: String = key.chars().filter(|char| !char.is_ascii_digit()).collect();
    let twin = twin.to_be_bytes();
    let mut pieces = vec![kind.as_bytes(), body, &twin];
    match language {
        Language::Shebang => {}
        Language::Batch => pieces.push(b"batch"),
        Language::PowerShell(shell) => {
            pieces.push(if shell.narrow { b"powershell32" } else { b"powershell" });
            pieces.extend(shell.arguments.iter().map(String::as_bytes));
        }
    }
    let fingerprint = Fingerprint::of(&pieces);
    let name = key.replace([' ', '/'], "-");
    let script = Script { name, body: body.to_vec(), language: language.clone() };
    Step { frequency, fingerprint: Some(fingerprint), action: Action::Run(script), key }
}

/// All cloud-config parts as one tree; what is no YAML is settled as failed.
fn merged(
    origin: &str,
    parts: &[Part],
    settled: &mut Vec<(String, Outcome, &'static str, String)>,
) -> Node {
    let mut tree = Node::Null;
    for part in parts {
        let Content::CloudConfig { text, merge } = &part.content else { continue };
        match yaml::parse(text) {
            Ok(node @ (Node::Mapping(_) | Node::Null)) => {
                let rule = Rule::of(&node).or_else(|| merge.as_deref().map(Rule::parse));
                tree = rule.unwrap_or_default().merge(tree, node);
            }
            Ok(node) => settled.push((
                format!("{origin} {}", part.name),
                Outcome::Failed,
                "bad-value",
                format!("cloud-config must be a mapping, not {}", node.kind()),
            )),
            Err(error) => settled.push((
                format!("{origin} {}", part.name),
                Outcome::Failed,
                "bad-yaml",
                error.to_string(),
            )),
        }
    }
    tree
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fingerprint_of_packages_stays_what_ledgers_hold() {
        let install = vec!["nginx".to_owned(), "curl=8.5".to_owned()];
        let packages = Packages { update: true, upgrade: false, install };
        let known = "66c7271045e6d3b6af65f113508f08d1230a8909f2fdb7cc6874cc025b1e7904";
        assert_eq!(of_packages(&packages).0, known);
        let other = Packages { upgrade: true, ..packages };
        assert_ne!(of_packages(&other).0, known);
    }
}
