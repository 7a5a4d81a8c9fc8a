//! What of Remote Desktop stands in Windows' registry, and what is to stand there. Pure.
//!
//! The values are Microsoft's: `fDenyTSConnections` and `UserAuthentication`
//! ("Win32_TerminalService Setting", "Microsoft-Windows-TerminalServices-LocalSessionManager",
//! "Microsoft-Windows-Terminal Services-RDP-WinStationExtensions"), `PortNumber` ("Change the
//! listening port for Remote Desktop on your computer"). A policy of a domain or of the machine
//! goes before them.

use mezame_model::RemoteDesktop;

/// The service's settings.
const SERVER: &str = r"SYSTEM\CurrentControlSet\Control\Terminal Server";
/// Its listener's.
const LISTENER: &str = r"SYSTEM\CurrentControlSet\Control\Terminal Server\WinStations\RDP-Tcp";
/// What policies say of both.
const POLICIES: &str = r"SOFTWARE\Policies\Microsoft\Windows NT\Terminal Services";
const DENY: &str = "fDenyTSConnections";
const NLA: &str = "UserAuthentication";

/// A number in the registry, below `HKEY_LOCAL_MACHINE`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Setting {
    /// The key.
    pub path: &'static str,
    /// The value's name.
    pub name: &'static str,
    /// What is to stand there.
    pub number: u32,
    /// What it means where nothing stands there; None: nothing that is known.
    pub without: Option<u32>,
    /// Whether the service takes it only when it is started.
    pub at_start: bool,
}

/// What is to stand there, in the order in which it is written: nobody gets in before the rest is
/// as it is wanted. Where nobody is to get in, the rest stays as it is.
pub fn settings(wanted: &RemoteDesktop) -> Vec<Setting> {
    let deny = Setting {
        path: SERVER,
        name: DENY,
        number: u32::from(!wanted.enabled),
        without: None,
        at_start: false,
    };
    if !wanted.enabled {
        return vec![deny];
    }
    let nla = Setting { path: LISTENER, name: NLA, number: u32::from(wanted.nla), ..deny };
    let port = Setting {
        path: LISTENER,
        name: "PortNumber",
        number: u32::from(wanted.port.get()),
        without: Some(u32::from(RemoteDesktop::PORT.get())),
        at_start: true,
    };
    vec![nla, port, deny]
}

/// What no policy may say otherwise: the values of the same names, where policies stand.
pub fn policies(wanted: &RemoteDesktop) -> Vec<Setting> {
    let mut all = settings(wanted);
    all.retain(|setting| [DENY, NLA].contains(&setting.name));
    for setting in &mut all {
        setting.path = POLICIES;
        // Without one the setting itself counts.
        setting.without = Some(setting.number);
    }
    all
}

impl Setting {
    /// Whether what stands there is as wanted.
    pub fn is_met_by(&self, now: Option<u32>) -> bool {
        now.or(self.without) == Some(self.number)
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU16;

    use super::*;

    fn wanted(enabled: bool, port: u16, nla: bool) -> RemoteDesktop {
        RemoteDesktop { enabled, port: NonZeroU16::new(port).unwrap(), nla }
    }

    fn said(settings: &[Setting]) -> Vec<(&str, &str, u32)> {
        let last = |path: &'static str| path.rsplit('\\').next().unwrap();
        settings.iter().map(|it| (last(it.path), it.name, it.number)).collect()
    }

    #[test]
    fn the_door_is_opened_last_and_a_shut_one_changes_nothing_else() {
        let open = [
            ("RDP-Tcp", "UserAuthentication", 1),
            ("RDP-Tcp", "PortNumber", 3390),
            ("Terminal Server", "fDenyTSConnections", 0),
        ];
        assert_eq!(said(&settings(&wanted(true, 3390, true))), open);
        assert_eq!(said(&settings(&wanted(true, 3389, false)))[0].2, 0);
        let shut = [("Terminal Server", "fDenyTSConnections", 1)];
        assert_eq!(said(&settings(&wanted(false, 3390, true))), shut);
        let starts: Vec<bool> =
            settings(&wanted(true, 3389, true)).iter().map(|it| it.at_start).collect();
        assert_eq!(starts, [false, true, false], "no session ends but for another port");
    }

    #[test]
    fn what_is_not_there_is_known_for_the_port_alone() {
        let all = settings(&wanted(true, 3389, true));
        let met: Vec<bool> = all.iter().map(|setting| setting.is_met_by(None)).collect();
        assert_eq!(met, [false, true, false]);
        assert!(!settings(&wanted(true, 3390, true))[1].is_met_by(None));
        assert!(all[2].is_met_by(Some(0)) && !all[2].is_met_by(Some(1)));
        let policies = policies(&wanted(true, 3390, true));
        assert_eq!(said(&policies).len(), 2);
        assert!(policies.iter().all(|it| it.is_met_by(None) && !it.is_met_by(Some(2))));
    }
}
