//! What became of a frame that has to do with a service address.
//!
//! The numbers are indexes of the counters in [`PortState`](crate::PortState) and travel in
//! [`DropRecord`](crate::DropRecord): part of the pinned layout. Frames that pass untouched have
//! no verdict; the device counts them.

macro_rules! verdicts {
    ($($(#[$doc:meta])* $name:ident = $number:literal, $label:literal;)*) => {
        /// What became of a frame.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u32)]
        pub enum Verdict { $($(#[$doc])* $name = $number,)* }

        impl Verdict {
            /// All, in the order of their numbers.
            pub const ALL: [Self; Self::COUNT] = [$(Self::$name,)*];

            /// A stable word for labels and logs.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$name => $label,)* }
            }
        }
    };
}

verdicts! {
    /// Redirected into the metadata namespace.
    Delivered = 0, "delivered";
    /// An ARP request for a service address, answered at the tap.
    ArpAnswered = 1, "arp_answered";
    /// A neighbour solicitation for a service address, answered at the tap.
    NeighbourAnswered = 2, "neighbour_answered";
    /// A reply, on its way to the guest.
    Returned = 3, "returned";
    /// Dropped: to a service address from a device that no port is attached to.
    UnknownPort = 4, "unknown_port";
    /// Dropped: to or from a service address with a VLAN tag.
    Tagged = 5, "tagged";
    /// Dropped: to a service address from another MAC than the port's.
    WrongMac = 6, "wrong_mac";
    /// Dropped: to a service address from an address that the port may not use.
    SpoofedSource = 7, "spoofed_source";
    /// Dropped: from a service address.
    FromService = 8, "from_service";
    /// Dropped: ARP that claims a service address.
    ArpClaim = 9, "arp_claim";
    /// Dropped: a neighbour advertisement that claims a service address.
    NeighbourClaim = 10, "neighbour_claim";
    /// Dropped: a DHCP server's message from a port that is no DHCP server.
    DhcpServer = 11, "dhcp_server";
    /// Dropped: a router advertisement from a port that is no DHCP server either.
    RouterAdvertisement = 12, "router_advertisement";
    /// Dropped: a fragment to a service address, or of neighbour discovery.
    Fragment = 13, "fragment";
    /// Dropped: to a service address with IP options.
    IpOptions = 14, "ip_options";
    /// Dropped: to a service address with IPv6 extension headers; or with more of them than
    /// anybody sends, or cut off in them, which would hide what follows.
    ExtensionHeader = 15, "extension_header";
    /// Dropped: to a service address, with lengths or fields that contradict each other; or IP or
    /// ARP behind LLC and SNAP headers, which would hide it.
    Malformed = 16, "malformed";
    /// Dropped: to a service address at which no such service is.
    NoService = 17, "no_service";
    /// Dropped: more frames than the port's token bucket has.
    RateLimited = 18, "rate_limited";
    /// Dropped: a reply that no service sent, or a broken one.
    BadReply = 19, "bad_reply";
    /// Dropped: a reply to an identity whose port is gone or has become another.
    StaleIdentity = 20, "stale_identity";
}

impl Verdict {
    /// How many there are.
    pub const COUNT: usize = 21;

    /// The verdict of a number, as read from a map.
    pub const fn from_number(number: u32) -> Option<Self> {
        if (number as usize) < Self::COUNT { Some(Self::ALL[number as usize]) } else { None }
    }

    /// Whether the frame was dropped.
    pub const fn is_drop(self) -> bool {
        self as u32 > Self::Returned as u32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_is_the_index_of_its_verdict() {
        for (number, verdict) in Verdict::ALL.into_iter().enumerate() {
            assert_eq!(verdict as usize, number);
            assert_eq!(Verdict::from_number(number as u32), Some(verdict));
        }
        assert_eq!(Verdict::from_number(Verdict::COUNT as u32), None);
    }

    #[test]
    fn four_verdicts_are_no_drops() {
        let kept = Verdict::ALL.into_iter().filter(|v| !v.is_drop());
        assert!(kept.eq([
            Verdict::Delivered,
            Verdict::ArpAnswered,
            Verdict::NeighbourAnswered,
            Verdict::Returned
        ]));
    }
}
