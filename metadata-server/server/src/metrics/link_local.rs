//! What became of a guest's datagram or connection, as labels of `link_local_total`.

macro_rules! labels {
    ($(#[$of:meta])* $type:ident { $($(#[$doc:meta])* $name:ident, $label:literal;)* }) => {
        $(#[$of])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum $type { $($(#[$doc])* $name,)* }

        impl $type {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// The label.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => $label,)* }
            }
        }
    };
}

labels! {
    /// Which of the services.
    Service {
        /// DHCPv4.
        Dhcp, "dhcp";
        /// DHCPv6.
        Dhcp6, "dhcp6";
        /// Router solicitations.
        Router, "router";
        /// DNS over UDP.
        Dns, "dns";
        /// DNS over TCP.
        DnsStream, "dns_tcp";
        /// Time.
        Ntp, "ntp";
        /// Licence activation.
        Kms, "kms";
        /// Help with encrypted volumes.
        Tang, "tang";
    }
}

labels! {
    /// What became of it.
    Outcome {
        /// Answered out of the records.
        Answered, "answered";
        /// Answered with a refusal, for what was asked. By DHCPv4: the guest's address is not the
        /// one that its record has.
        Refused, "refused";
        /// By DHCP: the guest says that another machine uses its address.
        Declined, "declined";
        /// Not answered, as the protocol or the record wants it.
        Silent, "silent";
        /// Answered by an upstream.
        Forwarded, "forwarded";
        /// No upstream has answered, or can be reached.
        Failed, "failed";
        /// There is no upstream.
        NoUpstream, "no_upstream";
        /// Nothing that the service is asked with.
        Malformed, "malformed";
        /// From an address that is no port's.
        UnknownPort, "unknown_port";
        /// The port's record has not come.
        NoRecord, "no_record";
        /// Beyond the port's rate.
        RateOfPort, "rate_of_port";
        /// Beyond what may wait for an upstream of one port.
        WaitingOfPort, "waiting_of_port";
        /// Beyond what may wait for an upstream in all.
        WaitingInAll, "waiting_in_all";
        /// A connection beyond the port's ceiling.
        StreamsOfPort, "streams_of_port";
        /// A connection beyond the ceiling of all ports.
        StreamsInAll, "streams_in_all";
        /// A connection on which nothing came for too long, or from which nothing was taken.
        Idle, "idle";
        /// A connection that carried as many bytes as it may.
        Bytes, "bytes";
        /// The tenancy ended before the answer came.
        TenancyOver, "tenancy_over";
        /// The answer could not be sent.
        Unsent, "unsent";
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn the_documentation_names_every_service_and_outcome_and_no_other() {
        let document = include_str!("../../../../docs/link-local.md");
        let row = document.lines().find(|line| line.starts_with("| `link_local_total`")).unwrap();
        let told: BTreeSet<&str> = row.split('`').skip(1).step_by(2).skip(1).collect();
        let services = Service::ALL.iter().map(|one| one.as_str());
        let outcomes = Outcome::ALL.iter().map(|one| one.as_str());
        let known: BTreeSet<&str> =
            services.chain(outcomes).chain(["service", "outcome"]).collect();
        assert_eq!(told, known);
        // And says what each outcome means.
        let table = document.lines().skip_while(|line| !line.starts_with("| `outcome` |"));
        let rows = table.skip(2).take_while(|line| line.starts_with('|'));
        let explained: Vec<&str> = rows
            .filter_map(|row| row.split('|').nth(1))
            .flat_map(|cell| cell.split('`').skip(1).step_by(2))
            .collect();
        let known: BTreeSet<&str> = Outcome::ALL.iter().map(|one| one.as_str()).collect();
        assert_eq!(explained.len(), known.len(), "{explained:?}");
        assert_eq!(BTreeSet::from_iter(explained), known);
    }
}
