//! What the doctor saw, as plain values: all that a finding may be drawn from.

use std::net::Ipv4Addr;

use mezame_model::{Document, MacAddress, Report};

use crate::{endpoint::Endpoint, facts::Link};

/// All of it.
#[derive(Debug, Clone, Default)]
pub struct Observations {
    /// Whether this user may look at everything.
    pub privileged: bool,
    /// The endpoint that the settings or the command line name.
    pub named: Option<Endpoint>,
    /// Whether the document's addresses are to be applied.
    pub configures_network: bool,
    /// Why the devices can't be listed.
    pub no_list: Option<String>,
    /// The devices as they were before the walk.
    pub devices: Vec<Device>,
    /// The ways that were walked, in order.
    pub ways: Vec<Way>,
    /// Names of variables that send HTTP to a proxy.
    pub proxies: Vec<String>,
    /// The agent itself.
    pub agent: Agent,
}

/// A device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Device {
    /// Name, MAC, addresses.
    pub link: Link,
    /// The rest.
    pub sight: Sight,
}

/// What an instrument tells of a device; nothing where it can't.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Sight {
    /// Whether something is at the other end; only told of a device that is up.
    pub carrier: Option<bool>,
    /// In bytes.
    pub mtu: Option<u32>,
    /// The one it was made with.
    pub permanent_mac: Option<MacAddress>,
}

/// One way to the service.
#[derive(Debug, Clone)]
pub struct Way {
    /// Through this device; none: as the routing tables say.
    pub device: Option<String>,
    /// To there.
    pub endpoint: Endpoint,
    /// How far it led.
    pub walked: Walked,
}

/// How far a way led.
#[derive(Debug, Clone)]
pub enum Walked {
    /// Not tried: the device has no carrier.
    NoCarrier,
    /// The way could not be opened.
    Unopened {
        /// The platform's word.
        reason: &'static str,
        /// For people.
        text: String,
    },
    /// The service was asked.
    Asked(Box<Asked>),
}

/// What was asked, and what was seen meanwhile.
#[derive(Debug, Clone)]
pub struct Asked {
    /// The address that was claimed for it.
    pub claimed: Option<Ipv4Addr>,
    /// For a session token.
    pub token: Exchange,
    /// For the document.
    pub document: Option<Exchange>,
    /// For something small and without a token, where one of those was not answered.
    pub small: Option<Exchange>,
    /// With a request that fills more than one packet, where the document came.
    pub long: Option<Exchange>,
    /// What the routing tables say against it.
    pub refusal: Option<String>,
    /// What was heard on the device.
    pub heard: Option<Heard>,
    /// What ARP said; IPv4 on the link only, and only where no connection came about.
    pub neighbour: Option<Neighbour>,
}

/// A request: its answer, or how it failed.
pub type Exchange = Result<Answer, Failure>;

/// An answer, without anything secret.
#[derive(Debug, Clone, Default)]
pub struct Answer {
    /// Such as 200.
    pub status: u16,
    /// How many seconds the guest's clock is ahead of the service's; negative: behind.
    pub ahead_s: Option<i64>,
    /// The stable word of an error, or the beginning of a short text.
    pub said: String,
    /// The document, where it is one.
    pub document: Option<Box<Document>>,
    /// Why it is none.
    pub no_document: Option<String>,
}

/// A request without an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// Whether there was a connection.
    pub connected: bool,
    /// How it ended.
    pub kind: FailureKind,
    /// For people.
    pub text: String,
}

/// How a request ended without an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FailureKind {
    /// Somebody said no (RST, or a port that is closed).
    Refused,
    /// Nobody answers for the address on the link.
    NoNeighbour,
    /// No route leads there.
    NoRoute,
    /// The kernel does not let it out.
    Denied,
    /// Nothing came in time.
    TimedOut,
    /// What came was no HTTP.
    NoHttp,
    /// Something else.
    Other,
}

/// What passed a device, of TCP with the service.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Heard {
    /// Segments that left.
    pub sent: u32,
    /// Segments that came, resets excepted.
    pub came: u32,
    /// Resets that came.
    pub resets: u32,
}

/// What ARP said of the service's address.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Neighbour {
    /// How often it was asked as by somebody without an address (RFC 5227).
    pub probes: u32,
    /// How many of these were answered.
    pub answered: u32,
    /// The guest's own addresses, and whether one that asks is answered.
    pub own: Vec<(Ipv4Addr, bool)>,
}

/// The agent: what starts it, and what it did.
#[derive(Debug, Clone, Default)]
pub struct Agent {
    /// Another value in each boot.
    pub boot_id: String,
    /// What starts it.
    pub starter: Starter,
    /// Whether it runs now.
    pub running: bool,
    /// The boot of the last run that began, and its number in that boot.
    pub began: Option<(String, u32)>,
    /// The last run that ended.
    pub report: Option<Report>,
    /// Whether something waits to be sent.
    pub has_mail: bool,
    /// The MACs that the last document named.
    pub known_macs: Vec<MacAddress>,
}

/// What starts the agent at boot.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Starter {
    /// A service of this name.
    Service {
        /// Such as `guest-agent.service`.
        name: String,
        /// How it is set.
        state: ServiceState,
    },
    /// No service that is known here starts it.
    Nothing,
    /// Can't be told on this system.
    #[default]
    Unknown,
}

/// How a service is set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ServiceState {
    /// Starts at boot.
    Enabled,
    /// Does not.
    Disabled,
    /// Can't be started at all.
    Masked,
}
