//! `dhcp.dnsmasq`: leases a second through the data path, beside dnsmasq on a bridge.
//!
//! A thousand guests, each a tap, lease one after the other: DISCOVER, OFFER, REQUEST, ACK, and
//! every answer is checked. Both servers have them all as fixed hosts and are told to say the
//! same; server and guests share one CPU. Guests here are nothing but frames, so real taps cost
//! no process that would carry them.

mod guest;

use std::{fs, time::Duration};

use anyhow::Context;
use mezame_tests::{Lab, namespace::Namespace, wait};

use crate::{
    load::Figures, peer::dnsmasq::Dnsmasq, pinned::Cpu, population, rounds, row::Row,
    sample::percentile, seed,
};
use guest::Guest;

const GUESTS: u32 = 1000;
const ROUNDS: usize = 9;
/// How often each guest leases in a round. All rounds together stay below what one port may send
/// at once, however fast the server is.
const TURNS: usize = 5;
/// For a thousand ports to be attached.
const PATIENCE: Duration = Duration::from_secs(60);

/// A server and the guests that ask it.
struct Contender {
    label: &'static str,
    guests: Vec<Guest>,
}

/// Measures the rows.
pub fn measure(cpu: Cpu) -> anyhow::Result<Vec<Row>> {
    // The server is a child of this thread, and takes its CPU over.
    cpu.bind()?;
    let mut lab = Lab::start()?;
    cpu.release()?;
    population::make(&lab.place.operator_socket(), 0, GUESTS)?;
    let ours = Contender::gather("ours", &lab.hypervisor, "169.254.169.254")?;

    let home = lab.directory().join("dnsmasq");
    fs::create_dir_all(&home).context("making a folder for the peer")?;
    let bridge = Namespace::create()?;
    let peer = Dnsmasq::start(cpu, &home, &bridge, GUESTS)?;
    let theirs = Contender::gather("dnsmasq on a bridge", &bridge, peer.address())?;
    peer.plug((0..GUESTS).map(seed::device))?;

    cpu.bind()?;
    let contenders = [ours, theirs];
    for contender in &contenders {
        contender.until_all_are_served()?;
    }
    let seen = rounds::run(&contenders, ROUNDS, Contender::round);
    Ok(rows(&contenders, &seen.with_context(|| counted(&mut lab))?))
}

/// What became of the guests' messages, by our server's own count.
fn counted(lab: &mut Lab) -> String {
    let text = lab.server().local("/metrics").map(|response| response.text()).unwrap_or_default();
    let is_ours = |line: &&str| {
        line.starts_with("mezame_link_local_total{service=\"dhcp\"") && !line.ends_with(" 0")
    };
    text.lines().filter(is_ours).collect::<Vec<_>>().join(", ")
}

fn rows(contenders: &[Contender; 2], seen: &[Vec<Figures>]) -> Vec<Row> {
    type Figure = (&'static str, &'static str, fn(&Figures) -> f64);
    let figures: [Figure; 3] = [
        ("dhcp.dnsmasq", "leases/s", |figures| figures.rate),
        ("dhcp.dnsmasq.p50", "µs", |figures| figures.p50),
        ("dhcp.dnsmasq.p99", "µs", |figures| figures.p99),
    ];
    let row = |(name, unit, figure): Figure| {
        let theirs = rounds::middle(&seen[1], figure);
        Row::beside(
            name,
            rounds::middle(&seen[0], figure),
            unit,
            rounds::ratio(&seen[0], &seen[1], figure),
            format!("{}: {theirs:.0} {unit}", contenders[1].label),
        )
    };
    figures.map(row).into()
}

impl Contender {
    fn gather(label: &'static str, namespace: &Namespace, server: &str) -> anyhow::Result<Self> {
        let server = server.parse()?;
        let guests = (0..GUESTS)
            .map(|number| Guest::plug(namespace, number, server))
            .collect::<anyhow::Result<_>>()?;
        Ok(Self { label, guests })
    }

    /// Lets each guest lease once, however long it takes until the server knows it.
    fn until_all_are_served(&self) -> anyhow::Result<()> {
        let soon = Duration::from_millis(100);
        for guest in &self.guests {
            wait::until(&format!("a first lease of {}", self.label), PATIENCE, || {
                guest.lease(soon)
            })?;
        }
        Ok(())
    }

    fn round(&self) -> anyhow::Result<Figures> {
        /// No answer takes this long unless something is broken.
        const BROKEN: Duration = Duration::from_secs(5);
        let mut times: Vec<u32> = Vec::with_capacity(TURNS * self.guests.len());
        let begin = std::time::Instant::now();
        let mut started = begin;
        for guest in (0..TURNS).flat_map(|_| &self.guests) {
            guest
                .lease(BROKEN)
                .with_context(|| format!("{}, lease {} of a round", self.label, times.len()))?;
            let now = std::time::Instant::now();
            times.push(u32::try_from((now - started).as_nanos()).unwrap_or(u32::MAX));
            started = now;
        }
        let rate = times.len() as f64 / begin.elapsed().as_secs_f64();
        let mut microseconds = |share| {
            let time = percentile(&mut times, share).context("nobody leased")?;
            anyhow::Ok(f64::from(time) / 1e3)
        };
        Ok(Figures { rate, p50: microseconds(0.5)?, p99: microseconds(0.99)? })
    }
}
