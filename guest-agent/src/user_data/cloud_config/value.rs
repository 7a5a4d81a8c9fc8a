//! The keys that are values, files and commands.

use base64::{Engine, engine::general_purpose::STANDARD};

use super::CloudConfig;
use crate::{
    facts::System,
    step::{FileSpec, Ntp},
    user_data::yaml::Node,
};

impl CloudConfig {
    pub(super) fn truth(&mut self, path: &str, key: &str, node: &Node) -> bool {
        node.as_bool().unwrap_or_else(|| {
            self.bad(path, key, node, "true or false");
            false
        })
    }

    pub(super) fn text(&mut self, path: &str, key: &str, node: &Node) -> Option<String> {
        let text = node.as_text().map(str::to_owned);
        if text.is_none() && *node != Node::Null {
            self.bad(path, key, node, "a text");
        }
        text
    }

    /// A list of texts; others in it are reported, each with its place.
    pub(super) fn texts(&mut self, path: &str, key: &str, node: &Node) -> Vec<String> {
        let Some(list) = node.as_list() else {
            if *node != Node::Null {
                self.bad(path, key, node, "a list of texts");
            }
            return Vec::new();
        };
        let mut out = Vec::new();
        for (at, entry) in list.into_iter().enumerate() {
            match entry.as_text() {
                Some(text) => out.push(text.to_owned()),
                None => self.bad(path, &format!("{key}[{at}]"), entry, "a text"),
            }
        }
        out
    }

    pub(super) fn host(&mut self, key: &str, node: &Node) -> Option<String> {
        let text = self.text("", key, node)?;
        if mezame_model::id::is_hostname(&text) {
            return Some(text);
        }
        self.skip("", key, "bad-value", mezame_model::id::HOSTNAME_RULE.into());
        None
    }

    /// `localhost`: a line for the host's own name, which is what an agent does without a word,
    /// too.
    pub(super) fn hosts(&mut self, node: &Node) {
        if node.as_text() == Some("localhost") {
            self.own_name_in_hosts = Some(true);
            return;
        }
        match node.as_bool() {
            Some(false) => self.own_name_in_hosts = Some(false),
            Some(true) => {
                let detail = "there is no template; the host's own name is written, and no more";
                self.own_name_in_hosts = Some(true);
                self.skip("", "manage_etc_hosts", "unsupported-key", detail.into());
            }
            None => self.bad("", "manage_etc_hosts", node, "localhost, true or false"),
        }
    }

    /// Anything but a truth value leaves the SSH server as it is.
    pub(super) fn ssh_pwauth(&mut self, node: &Node) {
        self.ssh_pwauth = node.as_bool();
        if self.ssh_pwauth.is_none() && *node != Node::Null && node.as_text() != Some("unchanged") {
            self.bad("", "ssh_pwauth", node, "true, false or unchanged");
        }
    }

    pub(super) fn zone(&mut self, node: &Node) -> Option<String> {
        let text = self.text("", "timezone", node)?;
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_+-/".contains(&byte);
        // The name becomes a path below /usr/share/zoneinfo.
        if !text.is_empty() && text.bytes().all(plain) && !text.starts_with('/') {
            return Some(text);
        }
        self.skip("", "timezone", "bad-value", "no name of a time zone".into());
        None
    }

    /// Names with an optional `=version`; a list of two is name and version.
    pub(super) fn package_names(&mut self, node: &Node) -> Vec<String> {
        let Some(list) = node.as_list() else {
            self.bad("", "packages", node, "a list of names");
            return Vec::new();
        };
        let mut names = Vec::new();
        for (at, entry) in list.into_iter().enumerate() {
            let name = match entry {
                Node::Scalar(scalar) => Some(scalar.text.clone()),
                Node::Sequence(pair) => match pair.as_slice() {
                    [name, version] => name
                        .as_text()
                        .zip(version.as_text())
                        .map(|(name, version)| format!("{name}={version}")),
                    _ => None,
                },
                _ => None,
            };
            // A name that begins with '-' would be an option of the package manager.
            match name.filter(|name| !name.starts_with('-') && !name.is_empty()) {
                Some(name) => names.push(name),
                None => self.bad("", &format!("packages[{at}]"), entry, "a package's name"),
            }
        }
        names
    }

    pub(super) fn growpart(&mut self, node: &Node) {
        self.growpart = true;
        let Node::Mapping(entries) = node else {
            if node.as_bool() != Some(true) {
                self.growpart = false;
                self.bad("", "growpart", node, "a mapping");
            }
            return;
        };
        for (key, value) in entries {
            match (key.as_str(), value.as_text()) {
                ("mode", Some("auto" | "growpart" | "gpart")) => {}
                ("mode", Some("off" | "false" | "no")) => self.growpart = false,
                ("devices", _) => {
                    let devices = self.texts("growpart", key, value);
                    if devices.iter().any(|device| device != "/") {
                        let detail = "only the root device '/' is grown".into();
                        self.skip("growpart", key, "unsupported-key", detail);
                    }
                }
                ("ignore_growroot_disabled", _) => {}
                _ => self.unsupported("growpart", key),
            }
        }
    }

    pub(super) fn ntp(&mut self, node: &Node) {
        let mut ntp = Ntp::default();
        let mut enabled = true;
        match node {
            Node::Null => {}
            Node::Mapping(entries) => {
                for (key, value) in entries {
                    match key.as_str() {
                        "servers" => ntp.servers = self.texts("ntp", key, value),
                        "pools" => ntp.pools = self.texts("ntp", key, value),
                        "enabled" => enabled = self.truth("ntp", key, value),
                        _ => self.unsupported("ntp", key),
                    }
                }
            }
            other => self.bad("", "ntp", other, "a mapping"),
        }
        let name = |text: &String| {
            text.parse::<std::net::IpAddr>().is_ok() || mezame_model::id::is_hostname(text)
        };
        for list in [&mut ntp.servers, &mut ntp.pools] {
            let before = list.len();
            list.retain(name);
            if list.len() < before {
                let detail = "an entry is no name and no address".to_owned();
                if self.skipped.len() < 200 {
                    self.skip("ntp", "", "bad-value", detail);
                }
            }
        }
        if ntp != Ntp::default() {
            self.ntp = enabled.then_some(ntp);
        } else if enabled {
            let detail = "no server and no pool is named, and there are no default ones";
            self.skip("", "ntp", "unsupported-key", detail.into());
        }
    }

    /// One shell script made of a command list, as cloud-init does: a text is a line for the
    /// shell, a list is a command with its arguments. A failing command does not end it.
    pub(super) fn commands(&mut self, key: &str, node: &Node) -> Option<Vec<u8>> {
        let Node::Sequence(list) = node else {
            if *node != Node::Null {
                self.bad("", key, node, "a list of commands");
            }
            return None;
        };
        let mut script = String::from("#!/bin/sh\n");
        for (at, entry) in list.iter().enumerate() {
            match entry {
                Node::Null => continue,
                Node::Scalar(scalar) => script.push_str(&scalar.text),
                Node::Sequence(words) if words.iter().all(|word| word.as_text().is_some()) => {
                    let words: Vec<String> =
                        words.iter().filter_map(Node::as_text).map(quoted).collect();
                    script.push_str(&words.join(" "));
                }
                other => {
                    self.bad("", &format!("{key}[{at}]"), other, "a text or a list of texts");
                    continue;
                }
            }
            script.push('\n');
        }
        Some(script.into_bytes())
    }

    pub(super) fn write_files(&mut self, node: &Node) {
        let Node::Sequence(list) = node else {
            if *node != Node::Null {
                self.bad("", "write_files", node, "a list of files");
            }
            return;
        };
        for (at, entry) in list.iter().enumerate() {
            let path = format!("write_files[{at}]");
            let Node::Mapping(entries) = entry else {
                self.bad(&path, "", entry, "a mapping");
                continue;
            };
            self.write_file(&path, entries);
        }
    }

    fn write_file(&mut self, path: &str, entries: &[(String, Node)]) {
        let mut file = FileSpec {
            path: String::new(),
            content: Vec::new(),
            mode: 0o644,
            owner: None,
            append: false,
        };
        let mut encoding = String::new();
        let (mut binary, mut defer, mut elsewhere) = (false, false, false);
        for (key, value) in entries {
            match key.as_str() {
                "path" => file.path = self.text(path, key, value).unwrap_or_default(),
                "content" => match value {
                    Node::Scalar(scalar) if scalar.binary => {
                        binary = true;
                        file.content = scalar.text.clone().into_bytes();
                    }
                    _ => {
                        file.content = self.text(path, key, value).unwrap_or_default().into_bytes();
                    }
                },
                "encoding" => encoding = self.text(path, key, value).unwrap_or_default(),
                "owner" => file.owner = self.text(path, key, value),
                "permissions" => match value.as_text().and_then(octal) {
                    Some(mode) => file.mode = mode,
                    None => self.bad(path, key, value, "an octal mode such as '0644'"),
                },
                "append" => file.append = self.truth(path, key, value),
                "defer" => defer = self.truth(path, key, value),
                _ => {
                    elsewhere |= key == "source";
                    self.unsupported(path, key);
                }
            }
        }
        if elsewhere && file.content.is_empty() {
            // Its content is not here: an empty file in its place would be a lie.
            return;
        }
        if ![System::Unix, System::Windows].iter().any(|system| system.is_file_path(&file.path)) {
            self.skip(path, "path", "bad-value", "an absolute path of a file is wanted".into());
            return;
        }
        // `!!binary` is YAML's own base64: what it holds may be packed once more.
        let plain = if binary { self.decoded(&file.content, "b64") } else { Ok(file.content) };
        match plain.and_then(|content| self.decoded(&content, &encoding)) {
            Ok(content) => file.content = content,
            Err(detail) => {
                self.skip(path, "encoding", "bad-value", detail);
                return;
            }
        }
        if defer { self.deferred_files.push(file) } else { self.files.push(file) }
    }

    fn decoded(&mut self, content: &[u8], encoding: &str) -> Result<Vec<u8>, String> {
        let base64 = |bytes: &[u8]| {
            let text: Vec<u8> =
                bytes.iter().copied().filter(|b| !b.is_ascii_whitespace()).collect();
            STANDARD.decode(text).map_err(|_| "the content is no base64".to_owned())
        };
        let mut gzip =
            |bytes: &[u8]| self.unpacked.unpack(bytes).map_err(|error| error.to_string());
        match encoding {
            "" | "text/plain" => Ok(content.to_vec()),
            "b64" | "base64" => base64(content),
            "gz" | "gzip" => gzip(content),
            "gz+base64" | "gzip+base64" | "gz+b64" | "gzip+b64" => gzip(&base64(content)?),
            _ => Err("no encoding that is known".into()),
        }
    }
}

/// A mode in octal, `0644` or `0o644` or `644`.
fn octal(text: &str) -> Option<u32> {
    let digits = text.strip_prefix("0o").unwrap_or(text);
    u32::from_str_radix(digits, 8).ok().filter(|mode| *mode <= 0o7777)
}

/// A word for the shell, in single quotes (POSIX, section 2.2.2).
fn quoted(word: &str) -> String {
    format!("'{}'", word.replace('\'', r"'\''"))
}
