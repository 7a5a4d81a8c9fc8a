//! A crowd of guests: thousands, each behind a port of its own, and all in one namespace.
//!
//! A namespace, and a thread that carries frames, for each guest would be most of what a storm
//! costs. So each guest is a veth whose host end is the port, with the program that taps carry, and
//! the kernel's own TCP speaks for all of them: a socket is bound to its guest's device, and the
//! device has its guest's address and its own way to the service. Guests never meet.
//!
//! Each asks for all that cloud-init's sources were recorded to ask for, in every dialect that one
//! instance can have: of rivals, half of the crowd has the one and half the other.

use std::{
    fs,
    path::Path,
    sync::Barrier,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use mezame_model::Dialect;
use serde_json::{Value, json};

use crate::{
    Lab,
    http::Connection,
    namespace::Namespace,
    namespace_guest::Dial,
    operator::{instance, network, port, project},
    process,
    recorded::{CRAWLS, Recorded},
    wait::{self, SOON},
};

/// The guests' ends of their devices.
#[derive(Debug)]
pub struct Crowd {
    namespace: Namespace,
    size: usize,
}

/// What a crowd's guests are seeded with, so that each recorded request finds what it found.
const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIHVX0ZgvF5mRN0E7jMUbV4ZRHpPYHx7HAzn7dUUuSl2n \
                   crowd";
/// The metadata service's MAC address, which a guest would hear by ARP. Told, since the kernel
/// keeps at most a thousand that it has heard, for all namespaces together.
const SERVICE_MAC: &str = "02:a9:fe:a9:fe:01";
/// Enough for a guest that asks and compares.
const STACK: usize = 256 << 10;

impl Crowd {
    /// The seed of so many guests.
    fn seed(size: usize) -> Vec<Value> {
        let mut documents = vec![project("crowd"), network("crowd", "lan", 1000, "10.64.0.0/10")];
        documents[1]["subnets"][0]["gateway"] = "10.64.0.1".into();
        for number in 0..size {
            let (name, device) = (format!("guest-{number}"), format!("tap{number}"));
            let port = port("crowd", &name, "lan", &mac(number), &[&address(number)], &device);
            let more = json!({
                "dialects": dialects(number), "ssh_keys": [KEY],
                "user_data": "#cloud-config\n", "vendor_data": "#cloud-config\n",
            });
            documents.extend([port, instance("crowd", &name, &name, &more)]);
        }
        documents
    }

    /// Makes so many guests in a lab, and waits until each of them is let in. The devices are there
    /// first: with the server at them, each would wait for the kernel's lock on all devices.
    pub fn gather(lab: &Lab, size: usize) -> Result<Self> {
        let crowd = Self::plug(&lab.hypervisor, lab.directory(), size)?;
        lab.operator.apply(&Self::seed(size))?;
        wait::until("the ports", 8 * SOON, || {
            let server = lab.server.as_ref().context("the lab has no server")?;
            let attached = server.local("/ports")?.json()?.as_array().map_or(0, Vec::len);
            ensure!(attached == size, "{attached} of {size} are attached");
            Ok(())
        })?;
        Ok(crowd)
    }

    /// Makes the devices; `directory` is the lab's.
    fn plug(hypervisor: &Namespace, directory: &Path, size: usize) -> Result<Self> {
        let namespace = Namespace::create()?;
        for place in [hypervisor, &namespace] {
            // Each device would announce itself several times.
            set(place, "ipv6/conf/default/disable_ipv6", "1")?;
        }
        // Of all the ways back to the service, the kernel would look at the first alone.
        set(&namespace, "ipv4/conf/all/rp_filter", "0")?;
        set(&namespace, "ipv4/conf/default/rp_filter", "0")?;
        let inside = format!("/proc/{}/fd/{}", std::process::id(), namespace.as_raw_fd());
        let all = |line: &dyn Fn(usize) -> String| (0..size).map(line).collect::<String>();
        let outer = all(&|number| {
            format!(
                "link add tap{number} up type veth peer name eth{number} address {} netns {inside}\n",
                mac(number)
            )
        });
        let inner = all(&|number| {
            let metric = number + 1;
            format!(
                "link set eth{number} up\n\
                 address add {}/32 dev eth{number}\n\
                 neighbour add 169.254.169.254 lladdr {SERVICE_MAC} dev eth{number} nud permanent\n\
                 route add 169.254.169.254/32 dev eth{number} metric {metric}\n",
                address(number)
            )
        });
        let file = directory.join("crowd");
        for (place, lines) in [(hypervisor, outer), (&namespace, inner)] {
            fs::write(&file, lines).context("writing a batch")?;
            process::succeed(place.command("ip").arg("-batch").arg(&file))?;
        }
        Ok(Self { namespace, size })
    }

    /// Lets all of them ask for everything at once, with a connection for each dialect; for each
    /// how long it took from the beginning until it had it all, or why it has not.
    pub fn storm(&self) -> Result<Vec<Result<Duration>>> {
        let crawls: Vec<(&str, Recorded)> = CRAWLS
            .iter()
            .map(|(dialect, text)| Ok((*dialect, Recorded::parse(text)?)))
            .collect::<Result<_>>()?;
        let start = Barrier::new(self.size + 1);
        let (crawls, start) = (&crawls, &start);
        self.namespace.run(|| {
            std::thread::scope(|scope| {
                let guests: Vec<_> = (0..self.size)
                    .map(|number| {
                        let thread = std::thread::Builder::new().stack_size(STACK);
                        let guest = thread.spawn_scoped(scope, move || {
                            start.wait();
                            ask_for_all(number, crawls).map(|()| Instant::now())
                        });
                        guest.expect("the system has threads for all guests")
                    })
                    .collect();
                let begin = Instant::now();
                start.wait();
                let joined = guests.into_iter().map(|guest| guest.join());
                joined.map(|done| Ok(done.expect("a guest doesn't panic")? - begin)).collect()
            })
        })
    }

    /// Lets the first guest that has a dialect ask for all that its client asks for, each on a
    /// connection of its own; how long that took.
    pub fn crawl(&self, dialect: &str) -> Result<Duration> {
        let recorded = Recorded::crawl(dialect)?;
        let number = (0..self.size)
            .find(|number| dialects(*number).contains(&dialect))
            .with_context(|| format!("no guest has the dialect {dialect}"))?;
        self.namespace.run(|| {
            let dial = dial(number);
            let begin = Instant::now();
            recorded.replay_apart(&mac(number), || Connection::new(dial.stream()?))?;
            Ok(begin.elapsed())
        })?
    }
}

fn ask_for_all(number: usize, crawls: &[(&str, Recorded)]) -> Result<()> {
    let dial = dial(number);
    let has = dialects(number);
    for (dialect, recorded) in crawls.iter().filter(|(dialect, _)| has.contains(dialect)) {
        let mut connection = Connection::new(dial.stream()?)?;
        recorded
            .replay(&mac(number), &mut connection)
            .with_context(|| format!("guest {number} in the dialect {dialect}"))?;
    }
    Ok(())
}

/// How a guest's sockets connect: by its own device.
fn dial(number: usize) -> Dial {
    let device = Some(format!("eth{number}"));
    Dial { device, bound: Duration::from_secs(30), ..Dial::default() }
}

fn dialects(number: usize) -> Vec<&'static str> {
    let is_odd = number % 2 == 1;
    let given_up = |dialect: Dialect| {
        Dialect::RIVALS.iter().any(|(one, other)| dialect == if is_odd { *one } else { *other })
    };
    Dialect::ALL.into_iter().filter(|it| !given_up(*it)).map(Dialect::as_str).collect()
}

fn address(number: usize) -> String {
    let [_, high, middle, low] = u32::try_from(number + 256).unwrap_or(u32::MAX).to_be_bytes();
    format!("10.{}.{middle}.{low}", 64 + high)
}

fn mac(number: usize) -> String {
    let [_, high, middle, low] = u32::try_from(number).unwrap_or(u32::MAX).to_be_bytes();
    format!("52:54:00:{high:02x}:{middle:02x}:{low:02x}")
}

/// Sets one of `/proc/sys/net` in a namespace.
fn set(namespace: &Namespace, name: &str, value: &str) -> Result<()> {
    namespace
        .run(|| fs::write(Path::new("/proc/sys/net").join(name), value))?
        .with_context(|| format!("setting {name}"))
}
