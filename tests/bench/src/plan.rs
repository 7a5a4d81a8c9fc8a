//! What there is to measure, in order, each with the rows it answers for.

use crate::{
    agent, archive, attach, backup, clone, cloud_init, crawl, dhcp, frame, get, pinned::Cpu,
    protocol, row::Row, size, storm, volume, wake,
};

type Measure = fn(Cpu) -> anyhow::Result<Vec<Row>>;

/// Some rows that are measured together.
#[derive(Debug, Clone, Copy)]
pub struct Measurement {
    rows: &'static [(&'static str, &'static str)],
    measure: Measure,
}

const ALL: &[Measurement] = &[
    Measurement {
        rows: &[
            ("get.veth", "requests/s"),
            ("get.direct", "requests/s"),
            ("get.nginx", "requests/s"),
            ("get.haproxy", "requests/s"),
            ("get.ipv6", "requests/s"),
        ],
        measure: get::measure_get,
    },
    Measurement {
        rows: &[
            ("connect.veth", "connections/s"),
            ("connect.direct", "connections/s"),
            ("connect.nginx", "connections/s"),
            ("connect.haproxy", "connections/s"),
            ("connect.ipv6", "connections/s"),
        ],
        measure: get::measure_connect,
    },
    Measurement { rows: &[("dhcp.dnsmasq", "leases/s")], measure: dhcp::measure },
    Measurement { rows: &[("frame.other", "ns")], measure: frame::measure },
    Measurement { rows: &[("protocol.get", "µs")], measure: protocol::measure },
    Measurement {
        rows: &[
            ("memory.instance", "bytes"),
            ("memory.standalone", "bytes"),
            ("start.100000", "s"),
            ("start.standalone", "s"),
        ],
        measure: size::measure,
    },
    Measurement { rows: &[("attach.10000", "ms")], measure: attach::measure },
    Measurement { rows: &[("wake", "ms"), ("wake.10000", "ms")], measure: wake::measure },
    Measurement {
        rows: &[("agent.configure", "ms"), ("agent.memory", "MiB")],
        measure: agent::measure,
    },
    Measurement { rows: &[("agent.cloud-init", "ms")], measure: cloud_init::measure },
    Measurement {
        rows: &[
            ("crawl.azure", "ms"),
            ("crawl.cloudstack", "ms"),
            ("crawl.digitalocean", "ms"),
            ("crawl.ec2", "ms"),
            ("crawl.gce", "ms"),
            ("crawl.hetzner", "ms"),
            ("crawl.nocloud", "ms"),
            ("crawl.openstack", "ms"),
            ("crawl.vultr", "ms"),
        ],
        measure: crawl::measure,
    },
    Measurement { rows: &[("storm.slowest", "s")], measure: storm::measure },
    Measurement { rows: &[("clone.100", "ms"), ("clone.space", "KiB")], measure: clone::measure },
    Measurement {
        rows: &[
            ("volume.default", "MiB/s"),
            ("volume.write.new-file", "MiB/s"),
            ("volume.write.flush-honouring", "MiB/s"),
            ("volume.write.bounded", "MiB/s"),
            ("volume.write.synchronous", "MiB/s"),
            ("volume.scatter", "MiB/s"),
            ("volume.scatter.new-file", "MiB/s"),
            ("volume.scatter.flush-honouring", "MiB/s"),
            ("volume.scatter.bounded", "MiB/s"),
            ("volume.scatter.synchronous", "MiB/s"),
        ],
        measure: volume::measure,
    },
    Measurement {
        rows: &[("backup.bytes", "MB"), ("backup.latency", "µs"), ("backup.latency.first", "µs")],
        measure: backup::measure,
    },
    Measurement {
        rows: &[
            ("archive.import.restic", "MB/s"),
            ("archive.restore.restic", "MB/s"),
            ("archive.size.restic", "MB"),
            ("archive.import.borg", "MB/s"),
            ("archive.restore.borg", "MB/s"),
            ("archive.size.borg", "MB"),
        ],
        measure: archive::measure,
    },
];

/// The measurements that have a row whose name begins with `prefix`.
pub fn measurements(prefix: &str) -> impl Iterator<Item = Measurement> {
    let prefix = prefix.to_owned();
    let wanted = move |measurement: &&Measurement| {
        measurement.rows.iter().any(|(name, _)| {
            // `get.veth.p50` belongs to `get.veth`.
            name.starts_with(&prefix) || prefix.starts_with(&format!("{name}."))
        })
    };
    ALL.iter().filter(wanted).copied()
}

impl Measurement {
    /// The rows' names, for people.
    pub fn names(&self) -> String {
        self.rows.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ")
    }

    /// Measures, in a thread of its own, so that one measurement's CPU is not the next one's. What
    /// goes wrong is the reason of each of its rows.
    pub fn run(&self) -> Vec<Row> {
        let measured = std::thread::scope(|scope| {
            let work = scope.spawn(|| (self.measure)(Cpu::last()?));
            work.join().unwrap_or_else(|_| Err(anyhow::anyhow!("the measurement panicked")))
        });
        measured.unwrap_or_else(|reason| {
            let reason = format!("{reason:#}");
            self.rows.iter().map(|(name, unit)| Row::missing(*name, unit, &reason)).collect()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_finds_the_measurements_of_its_rows_and_of_their_percentiles() {
        let names = |prefix| measurements(prefix).map(|one| one.names()).collect::<Vec<_>>();
        assert_eq!(names("").len(), ALL.len());
        assert_eq!(names("protocol"), ["protocol.get"]);
        assert!(names("nothing").is_empty());
    }

    #[test]
    fn a_measurement_that_fails_answers_each_of_its_rows_with_the_reason() {
        let measurement = Measurement {
            rows: &[("a", "ms"), ("b", "ms")],
            measure: |_| anyhow::bail!("no server"),
        };
        let rows = measurement.run();
        assert_eq!(rows.len(), 2);
        assert!(rows.iter().all(|row| row.reason.as_deref() == Some("no server")));
    }
}
