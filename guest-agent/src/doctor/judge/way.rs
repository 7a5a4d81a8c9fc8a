//! Where one way to the service ends, and what that means. Pure.
//!
//! ```text
//!   device ─► way opened ─► ARP ─► SYN leaves ─► something comes ─► token ─► document
//!    down,     route,        not attached,  firewall     not listening,  refusals, hop limit,
//!    carrier   addresses     MAC, source                 firewall        not ready, dialect
//! ```
//! Each cause has a weight: how far the way led when it ended there.

mod answer;

use mezame_model::Document;

use crate::doctor::{
    finding::{Finding, Who},
    observation::{Asked, Device, Failure, FailureKind, Neighbour, Observations, Walked, Way},
};

/// Causes of this weight or less are of no interest beside another one.
pub(super) const HARMLESS: u8 = 20;
/// Causes of this weight or more are faults even where the service is reached another way.
const FAULT: u8 = 60;

type Weighed = (u8, Finding);

/// How people call a way.
pub(super) fn through(way: &Way) -> String {
    match &way.device {
        Some(device) => format!("{} through {device}", way.endpoint.address),
        None => way.endpoint.to_string(),
    }
}

/// The document that came on a way.
pub(super) fn document(way: &Way) -> Option<&Document> {
    let Walked::Asked(asked) = &way.walked else { return None };
    asked.document.as_ref()?.as_ref().ok()?.document.as_deref()
}

/// Whether the service said anything on a way.
pub(super) fn is_answered(way: &Way) -> bool {
    matches!(&way.walked, Walked::Asked(asked) if asked.token.is_ok())
}

/// How many seconds the clock is ahead, by what came on a way.
pub(super) fn ahead(way: &Way) -> Option<i64> {
    let Walked::Asked(asked) = &way.walked else { return None };
    let exchanges = [Some(&asked.token), asked.document.as_ref(), asked.small.as_ref()];
    exchanges.into_iter().flatten().find_map(|it| it.as_ref().ok()?.ahead_s)
}

/// Faults of ways beside one that led to the document, and of that one itself.
pub(super) fn half_ways(seen: &Observations) -> Vec<Finding> {
    let good: Vec<_> =
        seen.ways.iter().filter(|it| document(it).is_some()).map(|it| &it.device).collect();
    let mut told: Vec<Finding> = Vec::new();
    for way in &seen.ways {
        let named = seen.named == Some(way.endpoint);
        let Some((weight, finding)) = cause(seen, way).filter(|_| !named) else { continue };
        let known = told.iter().any(|known| known.reason == finding.reason);
        if weight >= FAULT && good.contains(&&way.device) && !known {
            told.push(finding);
        }
    }
    told
}

/// Why a way did not lead to the document, or not well; with its weight.
pub(super) fn cause(seen: &Observations, way: &Way) -> Option<Weighed> {
    let place = through(way);
    let device = seen.devices.iter().find(|it| Some(&it.link.name) == way.device.as_ref());
    match &way.walked {
        Walked::NoCarrier => Some((35, no_carrier(way))),
        Walked::Unopened { reason, text } => Some(unopened(reason, text, &place)),
        Walked::Asked(asked) => match &asked.token {
            Err(failure) if !failure.connected => {
                let told = Unconnected { seen, device, asked, failure, place: &place };
                Some(told.cause())
            }
            Err(failure) => Some(answer::no_token(asked, failure, &place)),
            Ok(token) => answer::answered(asked, token, &place),
        },
    }
}

fn no_carrier(way: &Way) -> Finding {
    let device = way.device.as_deref().unwrap_or("the device");
    let wrong = format!("{device} has no carrier: nothing is at its other end");
    let mend = "See whether the guest's card is connected on the hypervisor: the tap is there and up, \
         and QEMU's link is not set off (`set_link`).";
    Finding::new("no-carrier", Who::Operator, wrong, mend).seen("the kernel says NO-CARRIER")
}

fn unopened(reason: &str, text: &str, place: &str) -> Weighed {
    let wrong = format!("{place}: {text}");
    match reason {
        "no-ipv6" => {
            let mend = "No harm where IPv4 leads to the service. Else look at `sysctl \
                 net.ipv6.conf` and `ip -6 address`.";
            (10, Finding::new("no-ipv6", Who::GuestOwner, wrong, mend))
        }
        "route-refused" => {
            let mend = "Somebody in the guest has forbidden the way: `ip route show type blackhole` \
                 (or unreachable, prohibit) and `ip route del` it, unless that was meant.";
            (78, Finding::new("route-refused", Who::GuestOwner, wrong, mend))
        }
        "no-free-address" => {
            let mend = "Something on the tenant's network answers for every link-local address \
                 (proxy ARP?): find it by `arping -D`, or give the guest its address by DHCP.";
            (
                40,
                Finding::new("no-free-address", Who::Either, wrong, mend)
                    .seen("somebody answered for each address that was probed (RFC 3927)"),
            )
        }
        _ => {
            let mend = "Does this user have the rights (root), and the kernel what it takes?";
            (15, Finding::new("network", Who::GuestOwner, wrong, mend))
        }
    }
}

/// A way on which no connection came about.
struct Unconnected<'a> {
    seen: &'a Observations,
    device: Option<&'a Device>,
    asked: &'a Asked,
    failure: &'a Failure,
    place: &'a str,
}

impl Unconnected<'_> {
    fn cause(&self) -> Weighed {
        if let Some(refusal) = &self.asked.refusal {
            let wrong = format!("{}: the routing tables forbid it: {refusal}", self.place);
            let mend = "Look at `ip rule` and `ip route get 169.254.169.254`, and take out what \
                 forbids it, unless that was meant.";
            return (78, Finding::new("route-refused", Who::GuestOwner, wrong, mend));
        }
        if let Some(neighbour) = &self.asked.neighbour
            && let Some(cause) = self.neighbour(neighbour)
        {
            return cause;
        }
        let resets = self.asked.heard.map(|heard| heard.resets);
        match self.failure.kind {
            FailureKind::NoRoute => {
                let wrong = format!("{}: no route leads there", self.place);
                let mend = "Give the guest a route to the endpoint that its settings name, or take \
                     the setting out.";
                (45, Finding::new("no-route", Who::GuestOwner, wrong, mend))
            }
            FailureKind::Refused if resets != Some(0) => self.not_listening(),
            FailureKind::NoNeighbour => self.not_attached("the kernel found no neighbour there"),
            FailureKind::Refused | FailureKind::Denied => {
                self.firewall("the kernel refused at once, and nothing had come from outside")
            }
            _ => self.silence(),
        }
    }

    /// What ARP tells; nothing where it is in order.
    fn neighbour(&self, neighbour: &Neighbour) -> Option<Weighed> {
        let Neighbour { probes, answered, own } = neighbour;
        let said = format!("{answered} of {probes} ARP probes (sender 0.0.0.0) were answered");
        if *answered == 0 {
            return Some(self.wrong_mac(&said).unwrap_or_else(|| self.not_attached(&said)));
        }
        if answered * 2 <= *probes {
            return Some(answer::limited(&said, self.place));
        }
        let foreign: Vec<_> = own.iter().filter(|(_, taken)| !taken).map(|(it, _)| it).collect();
        if foreign.is_empty() || foreign.len() < own.len() {
            return None;
        }
        let names = foreign.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        let wrong = format!(
            "{}: {names} is not an address of this port's: what comes from it is dropped at the tap \
             as spoofed",
            self.place
        );
        let mend = "Take the address off (`ip address del`) and run the agent, or have the operator \
             add it to the port's `addresses` or `allowed`.";
        Some((
            70,
            Finding::new("spoofed-source", Who::Either, wrong, mend)
                .seen(said)
                .seen(format!("ARP that asks as {names} is not")),
        ))
    }

    fn not_attached(&self, said: &str) -> Weighed {
        let wrong = format!(
            "{}: nobody answers for the service's address: this port is not attached to it",
            self.place
        );
        let mend = "See by `mezame describe port` that the port's `device` is this guest's tap \
             (`mezame port attach`), that its MAC is the guest's, and that the service runs on this \
             hypervisor.";
        (50, Finding::new("no-neighbour", Who::Operator, wrong, mend).seen(said))
    }

    /// Another MAC than the record's has no port at the tap either.
    fn wrong_mac(&self, said: &str) -> Option<Weighed> {
        let device = self.device?;
        let (now, known) = (device.link.mac, &self.seen.agent.known_macs);
        let was = if !known.is_empty() && !known.contains(&now) {
            let known: Vec<String> = known.iter().map(ToString::to_string).collect();
            format!("the last document named {}", known.join(", "))
        } else {
            let made = device.sight.permanent_mac.filter(|made| *made != now)?;
            format!("the card was made with {made}")
        };
        let wrong = format!(
            "{}: the device's MAC is {now}, and {was}: frames from another MAC than the record's are \
             dropped at the tap",
            self.place
        );
        let mend = "Set the MAC back (`ip link set address`), and take out what has changed it; or \
             have the operator change the port's `mac`.";
        Some((55, Finding::new("wrong-mac", Who::Either, wrong, mend).seen(said).seen(was)))
    }

    fn not_listening(&self) -> Weighed {
        let wrong = format!("{}: no metadata service listens there", self.place);
        let mend = "Start metadata-server on the hypervisor and look at its log. Where the settings \
             name the endpoint: is that the right one?";
        let seen = format!("the connection was refused: {}", self.failure.text);
        (60, Finding::new("not-listening", Who::Operator, wrong, mend).seen(seen))
    }

    fn firewall(&self, how: &str) -> Weighed {
        let wrong = format!("{}: a rule in this guest is in the way", self.place);
        let mend = "Look at `nft list ruleset` and `iptables -L -v -n` in the guest, and let TCP to \
             port 80 of the service's address out and its answers in.";
        (80, Finding::new("firewall", Who::GuestOwner, wrong, mend).seen(how))
    }

    /// Nothing said no, and nothing said yes.
    fn silence(&self) -> Weighed {
        let Some(heard) = self.asked.heard else { return self.silent("nothing came in time") };
        // Without an answer to neighbour discovery nothing could leave. That of IPv6 can't be asked
        // apart: it may as well be a rule of the guest's that lets nothing out.
        let is_resolved = self.asked.neighbour.is_some();
        if heard.came > 0 {
            let how = format!("{} packets of the service's came, and were not let in", heard.came);
            return self.firewall(&how);
        }
        if heard.sent == 0 && is_resolved {
            return self.firewall("ARP is answered, yet no packet left the device");
        }
        if heard.sent == 0 {
            let wrong = format!("{}: no answer at all", self.place);
            let mend = "See by `mezame describe port` whether the port's `device` is this guest's tap, \
                 and by `nft list ruleset` in the guest whether a rule keeps it from sending.";
            let seen = "no packet left the device";
            return (20, Finding::new("no-connection", Who::Either, wrong, mend).seen(seen));
        }
        self.silent(&format!("{} packets left the device, and none came", heard.sent))
    }

    fn silent(&self, how: &str) -> Weighed {
        let wrong = format!("{}: no answer at all", self.place);
        let mend = "See on the hypervisor what became of them: `mezame_frames_total` by verdict, and \
             the drops in /events of its local socket.";
        (30, Finding::new("no-connection", Who::Operator, wrong, mend).seen(how))
    }
}
