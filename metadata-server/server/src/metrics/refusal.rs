//! Why a connection or a request was refused or ended, as a label of `refusals_total`.

macro_rules! reasons {
    ($($(#[$doc:meta])* $name:ident, $label:literal;)*) => {
        /// Why a connection or a request was refused or ended.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Reason { $($(#[$doc])* $name,)* }

        impl Reason {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// The label.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => $label,)* }
            }
        }
    };
}

reasons! {
    /// A connection from an address that is no port's.
    UnknownPort, "unknown_port";
    /// A connection beyond the port's ceiling.
    ConnectionsOfPort, "connections_of_port";
    /// A connection beyond the ceiling of all ports.
    ConnectionsInAll, "connections_in_all";
    /// A connection that made room for one of a port with fewer.
    Evicted, "evicted";
    /// A request beyond the port's rate.
    RequestsOfPort, "requests_of_port";
    /// A watch beyond the port's ceiling.
    WatchesOfPort, "watches_of_port";
    /// An event beyond the port's rate.
    EventsOfPort, "events_of_port";
    /// An event of a port of which as many wait for the control plane as may.
    OutboxOfPort, "outbox_of_port";
    /// An event that could not be written to disk.
    NotKept, "not_kept";
    /// A request that is none.
    Malformed, "malformed";
    /// A request with two lengths.
    Smuggling, "smuggling";
    /// A head that did not come in time.
    SlowHead, "slow_head";
    /// A body that did not come in time.
    SlowBody, "slow_body";
    /// A request that was not over in time.
    SlowRequest, "slow_request";
    /// A reply that was not taken in time.
    SlowReader, "slow_reader";
    /// A connection on which no request came.
    Idle, "idle";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_documentation_names_every_reason_and_no_other() {
        let document = include_str!("../../../../docs/operations.md");
        let row = document.lines().find(|line| line.starts_with("| `refusals_total`")).unwrap();
        let told: std::collections::BTreeSet<&str> =
            row.split('`').skip(1).step_by(2).skip(2).collect();
        let known = Reason::ALL.iter().map(|reason| reason.as_str()).collect();
        assert_eq!(told, known);
    }
}
