//! The DHCP clients: Debian's, unmodified, with Debian's own settings and scripts, and what stands
//! here beside them.

/// One of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Client {
    Dhclient,
    Dhcpcd,
    Networkd,
    Udhcpc,
}

/// Where systemd-networkd's settings are: Debian's package has none.
pub(super) const NETWORKD_SETTINGS: &str = "/etc/systemd/network/eth0.network";

impl Client {
    pub(super) const ALL: [Self; 4] = [Self::Dhclient, Self::Dhcpcd, Self::Networkd, Self::Udhcpc];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Dhclient => "dhclient",
            Self::Dhcpcd => "dhcpcd",
            Self::Networkd => "systemd-networkd",
            Self::Udhcpc => "udhcpc",
        }
    }

    /// How it is started, in the foreground, for IPv4.
    pub(super) fn words(self) -> &'static [&'static str] {
        match self {
            Self::Dhclient => &["dhclient", "-d", "-v", "eth0"],
            // Debian's settings ask for no time servers.
            Self::Dhcpcd => &["dhcpcd", "-B", "-d", "-o", "ntp_servers", "eth0"],
            Self::Networkd => {
                &["env", "SYSTEMD_LOG_LEVEL=debug", "/usr/lib/systemd/systemd-networkd"]
            }
            Self::Udhcpc => &["udhcpc", "-f", "-i", "eth0", "-O", "mtu"],
        }
    }

    /// The same for IPv6 alone.
    pub(super) fn words6(self) -> &'static [&'static str] {
        match self {
            Self::Dhclient => &["dhclient", "-6", "-d", "-v", "eth0"],
            Self::Dhcpcd => &["dhcpcd", "-6", "-B", "-d", "eth0"],
            Self::Networkd => self.words(),
            Self::Udhcpc => unreachable!("it has no IPv6"),
        }
    }

    /// How it shows what it was told, where that is not all in the system's own settings.
    pub(super) fn show(self) -> &'static [&'static str] {
        match self {
            Self::Dhclient => &["cat", "/var/lib/dhcp/dhclient.leases"],
            Self::Dhcpcd => &["dhcpcd", "-4", "-U", "eth0"],
            Self::Networkd => &["sh", "-c", "cat /run/systemd/netif/leases/*"],
            Self::Udhcpc => &["true"],
        }
    }

    /// What it then says.
    pub(super) fn shown(self) -> &'static [&'static str] {
        match self {
            Self::Dhclient => &[
                "option ntp-servers 192.168.0.4;",
                "option dhcp-server-identifier 169.254.169.254;",
                "option dhcp-lease-time 20;",
                "option broadcast-address 192.168.0.255;",
            ],
            Self::Dhcpcd => &["ntp_servers=192.168.0.4", "dhcp_lease_time=20"],
            Self::Networkd => &[
                "ADDRESS=192.168.0.10",
                "NETMASK=255.255.255.0",
                "SERVER_ADDRESS=169.254.169.254",
                "MTU=1400",
                "T1=10",
                "T2=17",
                "LIFETIME=20",
                "DNS=192.168.0.2 192.168.0.3",
                "NTP=192.168.0.4",
                "DOMAINNAME=tenant.example",
                "HOSTNAME=guest-host",
            ],
            Self::Udhcpc => &[],
        }
    }

    /// Whether its own scripts do this with what it was told. Debian's of udhcpc leaves classless
    /// routes and the host's name alone; systemd-networkd gives the name and the resolvers to
    /// other daemons, of which there are none here.
    pub(super) fn sets_routes(self) -> bool {
        self != Self::Udhcpc
    }

    pub(super) fn sets_resolvers(self) -> bool {
        self != Self::Networkd
    }

    /// Whether it has the MTU of its next lease as it had that of the one it lost. systemd-networkd 252
    /// was seen to have Linux's own after it, now and then: it takes the lost one's back while it takes
    /// the next, which says the same.
    pub(super) fn keeps_mtu(self) -> bool {
        self != Self::Networkd
    }

    pub(super) fn sets_host_name(self) -> bool {
        matches!(self, Self::Dhclient | Self::Dhcpcd)
    }

    /// Whether it asks for its address again after the machine was restarted (INIT-REBOOT). The
    /// others keep their leases below `/run`, or none.
    pub(super) fn remembers(self) -> bool {
        matches!(self, Self::Dhclient | Self::Dhcpcd)
    }
}
