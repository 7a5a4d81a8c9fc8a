//! What Windows' firewall is told, so that a service of the guest is reached, or no longer. Pure.
//!
//! Two kinds of rules are looked at: the agent's own, known by their names, and those that Windows
//! has for Remote Desktop, known by the resource that names their group, which is the same in every
//! language. All others are not the agent's.
//!
//! How a rule stands in the registry: MS-GPFAS, section 2.2.2 ("Firewall Rule and the Firewall Rule
//! Grammar Rule"): `v2.31|Action=Allow|Active=TRUE|Dir=In|Protocol=6|LPort=3390|Name=…|`. What
//! `netsh` is told: Microsoft, "netsh advfirewall". Each command is a list of words: nothing goes
//! through a shell, and of a record nothing but a number gets into one.

use std::num::NonZeroU16;

use mezame_model::{RemoteDesktop, Winrm};

/// Where the rules stand in the registry, below `HKEY_LOCAL_MACHINE`.
pub const RULES: &str =
    r"SYSTEM\CurrentControlSet\Services\SharedAccess\Parameters\FirewallPolicy\FirewallRules";
/// What names the group "Remote Desktop", whatever it is called.
const DESKTOP_GROUP: &str = "@FirewallAPI.dll,-28752";

/// A service behind the firewall.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Service {
    /// Which listens on TCP and UDP.
    RemoteDesktop,
    /// Which listens on TCP.
    Winrm,
}

impl Service {
    /// The agent's own rules: each one's name, its protocol in words, and as a number.
    fn rules(self) -> &'static [(&'static str, &'static str, &'static str)] {
        match self {
            Self::RemoteDesktop => &[
                ("Mezame-RemoteDesktop-TCP", "TCP", "6"),
                ("Mezame-RemoteDesktop-UDP", "UDP", "17"),
            ],
            Self::Winrm => &[("Mezame-WinRM-HTTPS", "TCP", "6")],
        }
    }
}

/// Where a service is to be reached; on no port: nowhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Opening {
    /// Which.
    pub service: Service,
    /// Where.
    pub port: Option<NonZeroU16>,
}

impl Opening {
    /// Of Remote Desktop.
    pub fn of_desktop(wanted: &RemoteDesktop) -> Self {
        let port = wanted.enabled.then_some(wanted.port);
        Self { service: Service::RemoteDesktop, port }
    }

    /// Of WinRM.
    pub fn of_winrm(wanted: &Winrm) -> Self {
        Self { service: Service::Winrm, port: wanted.https.then_some(wanted.port) }
    }
}

/// A rule, as far as the agent looks at it.
struct Rule<'a>(&'a str);

impl<'a> Rule<'a> {
    fn field(&self, name: &str) -> Option<&'a str> {
        let value = |part: &'a str| part.strip_prefix(name)?.strip_prefix('=');
        self.0.split('|').find_map(value)
    }

    fn is_active(&self) -> bool {
        self.field("Active").is_some_and(|value| value.eq_ignore_ascii_case("TRUE"))
    }

    /// Whether it lets everybody in on this port, and does nothing else.
    fn admits(&self, protocol: &str, port: &str) -> bool {
        // One for some profiles, addresses or programs alone would have further fields.
        let known =
            ["Action", "Active", "Dir", "Protocol", "LPort", "Name", "Desc", "EmbedCtxt", "Edge"];
        let only = self
            .0
            .split('|')
            .skip(1)
            .filter(|part| !part.is_empty())
            .all(|part| part.split_once('=').is_some_and(|(name, _)| known.contains(&name)));
        only && self.is_active()
            && self.field("Action") == Some("Allow")
            && self.field("Dir") == Some("In")
            && self.field("Protocol") == Some(protocol)
            && self.field("LPort") == Some(port)
    }
}

/// The commands that make it so; none where it is. `rules` are all that there are.
pub fn commands(opening: &Opening, rules: &[String]) -> Vec<Vec<String>> {
    let rules: Vec<Rule<'_>> = rules.iter().map(|rule| Rule(rule)).collect();
    let mut out = Vec::new();
    let mut port = opening.port;
    if opening.service == Service::RemoteDesktop {
        let mut group =
            rules.iter().filter(|rule| rule.field("EmbedCtxt") == Some(DESKTOP_GROUP)).peekable();
        let has_group = group.peek().is_some();
        // Windows' own rules are for its own port.
        let is_groups = has_group && port == Some(RemoteDesktop::PORT);
        if group.any(|rule| rule.is_active() != is_groups) {
            let enable = format!("enable={}", if is_groups { "yes" } else { "no" });
            out.push(words("set", &[&format!("group={DESKTOP_GROUP}"), "new", &enable]));
        }
        port = port.filter(|_| !is_groups);
    }
    for (name, protocol, number) in opening.service.rules() {
        let ours: Vec<_> = rules.iter().filter(|rule| rule.field("Name") == Some(*name)).collect();
        let port = port.map(|port| port.to_string());
        if let ([one], Some(port)) = (&*ours, &port)
            && one.admits(number, port)
        {
            continue;
        }
        let name = format!("name={name}");
        if !ours.is_empty() {
            out.push(words("delete", &[&name]));
        }
        if let Some(port) = port {
            let (protocol, port) = (format!("protocol={protocol}"), format!("localport={port}"));
            out.push(words("add", &[&name, "dir=in", "action=allow", &protocol, &port]));
        }
    }
    out
}

fn words(verb: &str, rest: &[&str]) -> Vec<String> {
    let head = ["advfirewall", "firewall", verb, "rule"];
    head.iter().chain(rest).map(|word| (*word).to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn said(service: Service, port: u16, rules: &[&str]) -> Vec<String> {
        let rules: Vec<String> = rules.iter().map(|rule| (*rule).to_owned()).collect();
        let opening = Opening { service, port: NonZeroU16::new(port) };
        let short = |words: Vec<String>| {
            words.join(" ").strip_prefix("advfirewall firewall ").unwrap().to_owned()
        };
        commands(&opening, &rules).into_iter().map(short).collect()
    }

    /// As Windows writes one of its own group.
    fn of_group(active: &str) -> String {
        format!(
            "v2.31|Action=Allow|Active={active}|Dir=In|Protocol=6|LPort=3389|App=%SystemRoot%\\\
             system32\\svchost.exe|Svc=termservice|Name=@FirewallAPI.dll,-28775|Desc=@FirewallAPI\
             .dll,-28756|EmbedCtxt=@FirewallAPI.dll,-28752|"
        )
    }

    /// As netsh's own ones stand there.
    fn ours(name: &str, protocol: u8, port: u16) -> String {
        format!(
            "v2.31|Action=Allow|Active=TRUE|Dir=In|Protocol={protocol}|LPort={port}|Name={name}|"
        )
    }

    #[test]
    fn windows_own_rules_serve_its_own_port_and_ours_any_other() {
        let (on, off) = (of_group("TRUE"), of_group("FALSE"));
        let desktop = Service::RemoteDesktop;
        let enable = ["set rule group=@FirewallAPI.dll,-28752 new enable=yes"];
        let disable = "set rule group=@FirewallAPI.dll,-28752 new enable=no";
        assert_eq!(said(desktop, 3389, &[&off]), enable);
        assert_eq!(said(desktop, 3389, &[&off, &on]), enable);
        assert!(said(desktop, 3389, &[&on]).is_empty());
        assert_eq!(said(desktop, 0, &[&on]), [disable]);
        assert!(said(desktop, 0, &[&off]).is_empty());
        let add = |port: u16| {
            [("TCP", port), ("UDP", port)].map(|(protocol, port)| {
                format!(
                    "add rule name=Mezame-RemoteDesktop-{protocol} dir=in action=allow \
                     protocol={protocol} localport={port}"
                )
            })
        };
        let other = said(desktop, 3390, &[&on]);
        assert_eq!((other[0].as_str(), &other[1..]), (disable, &add(3390)[..]));
        // A Windows without such a group.
        assert_eq!(said(desktop, 3389, &[]), add(3389));
        let mine =
            [ours("Mezame-RemoteDesktop-TCP", 6, 3390), ours("Mezame-RemoteDesktop-UDP", 17, 3390)];
        assert!(said(desktop, 3390, &[&off, &mine[0], &mine[1]]).is_empty());
        let deletes =
            ["TCP", "UDP"].map(|it| format!("delete rule name=Mezame-RemoteDesktop-{it}"));
        assert_eq!(said(desktop, 0, &[&off, &mine[0], &mine[1]]), deletes);
        assert_eq!(said(desktop, 3389, &[&on, &mine[0], &mine[1]]), deletes);
    }

    #[test]
    fn a_rule_of_ours_that_says_something_else_is_made_anew_and_others_stay() {
        let name = "Mezame-WinRM-HTTPS";
        let add = format!("add rule name={name} dir=in action=allow protocol=TCP localport=5986");
        let anew = [format!("delete rule name={name}"), add.clone()];
        assert_eq!(said(Service::Winrm, 5986, &[&of_group("FALSE"), "", "v2.31|", "|||"]), [add]);
        let good = ours(name, 6, 5986);
        assert!(said(Service::Winrm, 5986, &[&good]).is_empty());
        for odd in [
            ours(name, 6, 5985),
            ours(name, 17, 5986),
            good.replace("Allow", "Block"),
            good.replace("TRUE", "FALSE"),
            good.replace("Dir=In", "Dir=Out"),
            format!("{good}RA4=10.0.0.0/255.0.0.0|"),
            format!("{good}Profile=Domain|"),
        ] {
            assert_eq!(said(Service::Winrm, 5986, &[&odd]), anew, "{odd}");
        }
        assert_eq!(said(Service::Winrm, 5986, &[&good, &good]), anew);
        assert_eq!(said(Service::Winrm, 0, &[&good]), anew[..1]);
        let theirs = "v2.31|Action=Allow|Active=TRUE|Dir=In|Protocol=6|LPort=5985|Name=@FirewallAPI\
                      .dll,-30253|EmbedCtxt=@FirewallAPI.dll,-30267|";
        assert!(said(Service::Winrm, 0, &[theirs]).is_empty());
    }

    proptest! {
        #[test]
        fn no_rule_makes_it_panic(rules: Vec<String>, port: u16) {
            for service in [Service::RemoteDesktop, Service::Winrm] {
                let opening = Opening { service, port: NonZeroU16::new(port) };
                let _ = commands(&opening, &rules);
            }
        }
    }
}
