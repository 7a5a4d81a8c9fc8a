//! What a hypervisor says of a guest's machine, so that the client in its image knows its cloud.
//!
//! cloud-init's ds-identify, cloudbase-init, afterburn and the clouds' own agents read SMBIOS
//! (DMI) before they ask anybody, and since CVE-2024-6174 cloud-init does not even run where no
//! string fits. So each dialect has strings, computed here from the instance alone: the hypervisor
//! sets them, and nothing in the image has to be changed. A machine has one set, so an instance
//! that is answered in several dialects is introduced by one of them.
//!
//! Pure. Sets nothing itself, and never makes an id that the instance does not have already.
//!
//! Follows DMTF DSP0134 (types 1 and 3) and cloud-init's documentation of each datasource.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::{Dialect, Instance, InstanceId};

/// The strings of one machine; empty where the hypervisor's own may stay.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Smbios {
    /// Type 1, manufacturer (`sys_vendor`).
    #[serde(default, skip_serializing_if = "str::is_empty")]
    pub manufacturer: Box<str>,
    /// Type 1, product name.
    #[serde(default, skip_serializing_if = "str::is_empty")]
    pub product: Box<str>,
    /// Type 1, serial number.
    #[serde(default, skip_serializing_if = "str::is_empty")]
    pub serial: Box<str>,
    /// Type 1, UUID.
    pub uuid: Box<str>,
    /// Type 3, asset tag of the chassis.
    #[serde(default, skip_serializing_if = "str::is_empty")]
    pub chassis_asset_tag: Box<str>,
}

/// By what Azure's machines are known.
const AZURE_CHASSIS: &str = "7783-7084-3265-9085-8269-3286-77";

/// The instance's UUID: the digits of its id in the form of a random one (RFC 9562, version 4).
/// Different for each instance, and the same for ever. Begins with a zero, so that no client takes
/// it for one of EC2's.
pub fn uuid(id: &InstanceId) -> String {
    let hex = id.as_str().strip_prefix("i-").unwrap_or_default();
    // An id is 17 digits; a shorter one could only come from a change of that rule.
    let digits = |from: usize, to: usize| hex.get(from..to).unwrap_or_default();
    format!(
        "0{}-{}-4{}-8{}-000000000000",
        digits(0, 7),
        digits(7, 11),
        digits(11, 14),
        digits(14, 17)
    )
}

/// The same as EC2's clients know their cloud by: beginning with `ec2`.
fn ec2_uuid(id: &InstanceId) -> String {
    let uuid = uuid(id);
    let (digits, rest) = uuid.split_once('-').unwrap_or((&uuid, ""));
    // The two digits that give way come again at the end.
    let (first, others) = digits[1..].split_at_checked(2).unwrap_or_default();
    format!("ec2{others}-{}{first}", rest.strip_suffix("00").unwrap_or(rest))
}

impl Smbios {
    /// The strings by which a dialect's clients know their cloud. None for our own agent, which
    /// asks without being told. `metadata` is where the guest reaches the service
    /// ([`Port::metadata_address`](crate::Port::metadata_address)): NoCloud's clients are told it,
    /// all others have addresses of their own.
    pub fn of(dialect: Dialect, instance: &Instance, metadata: IpAddr) -> Option<Self> {
        let uuid: Box<str> = uuid(&instance.id).into();
        let made = |manufacturer: &str, product: &str, serial: &str| Self {
            manufacturer: manufacturer.into(),
            product: product.into(),
            serial: serial.into(),
            uuid: uuid.clone(),
            chassis_asset_tag: Box::default(),
        };
        Some(match dialect {
            Dialect::Ec2 => {
                let uuid = ec2_uuid(&instance.id);
                Self { uuid: uuid.as_str().into(), ..made("Amazon EC2", "", &uuid) }
            }
            Dialect::Openstack => made("OpenStack Foundation", "OpenStack Nova", &uuid),
            Dialect::Gce => {
                let serial = format!("GoogleCloud-{}", uuid.replace('-', "").to_uppercase());
                made("Google", "Google Compute Engine", &serial)
            }
            Dialect::Azure => Self {
                chassis_asset_tag: AZURE_CHASSIS.into(),
                ..made("Microsoft Corporation", "Virtual Machine", "")
            },
            Dialect::Digitalocean => {
                made("DigitalOcean", "Droplet", &instance.id.number().to_string())
            }
            Dialect::Hetzner => made("Hetzner", "vServer", &instance.id.number().to_string()),
            Dialect::Vultr => made("Vultr", "VC2", &uuid),
            Dialect::Cloudstack => {
                made("Apache Software Foundation", "CloudStack KVM Hypervisor", "")
            }
            // Not `ds=nocloud`: until 24.1 cloud-init took that for a seed on a disk.
            Dialect::Nocloud => {
                let host = match metadata {
                    IpAddr::V4(v4) => v4.to_string(),
                    IpAddr::V6(v6) => format!("[{v6}]"),
                };
                made("", "", &format!("ds=nocloud-net;s=http://{host}/nocloud/"))
            }
            Dialect::Mezame => return None,
        })
    }

    /// The strings of each of the instance's dialects that has any, in the order of
    /// [`Dialect::ALL`]. A machine has one set: the first introduces the instance.
    pub fn all_of(instance: &Instance, metadata: IpAddr) -> impl Iterator<Item = (Dialect, Self)> {
        let has = |dialect: &Dialect| instance.dialects.contains(dialect);
        Dialect::ALL
            .into_iter()
            .filter(has)
            .filter_map(move |dialect| Some((dialect, Self::of(dialect, instance, metadata)?)))
    }

    /// The values of QEMU's `-smbios` options, in order.
    pub fn qemu(&self) -> Vec<String> {
        let fields = |kind: &str, fields: &[(&str, &str)]| {
            let mut out = format!("type={kind}");
            for (name, value) in fields.iter().filter(|(_, value)| !value.is_empty()) {
                // A comma ends a value; two of them are one in it.
                out.push_str(&format!(",{name}={}", value.replace(',', ",,")));
            }
            out
        };
        let system = fields(
            "1",
            &[
                ("manufacturer", &self.manufacturer),
                ("product", &self.product),
                ("serial", &self.serial),
                ("uuid", &self.uuid),
            ],
        );
        let mut all = vec![system];
        if !self.chassis_asset_tag.is_empty() {
            all.push(fields("3", &[("asset", &self.chassis_asset_tag)]));
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::service_address::{METADATA, METADATA6};

    const V4: IpAddr = IpAddr::V4(METADATA);

    fn instance(dialects: &[Dialect]) -> Instance {
        let json = serde_json::json!({
            "id": "i-0123456789abcdef0", "project": "p", "name": "n", "hostname": "n",
            "ports": ["eni-0123456789abcdef0"], "dialects": dialects, "instance_type": "m1.small",
            "image_id": "ami-0123456789abcdef0", "zone": "a", "launched_at": 0,
        });
        serde_json::from_value(json).unwrap()
    }

    #[test]
    fn a_uuid_holds_the_whole_id_has_the_form_of_a_random_one_and_is_not_taken_for_ec2s() {
        let instance = instance(&[Dialect::Ec2]);
        assert_eq!(uuid(&instance.id), "00123456-789a-4bcd-8ef0-000000000000");
        assert_eq!(ec2_uuid(&instance.id), "ec223456-789a-4bcd-8ef0-000000000001");
        let all = Dialect::ALL.into_iter().filter(|it| *it != Dialect::Ec2);
        for (dialect, smbios) in all.filter_map(|it| Some((it, Smbios::of(it, &instance, V4)?))) {
            assert!(!smbios.uuid.starts_with("ec2"), "{dialect:?}");
        }
    }

    #[test]
    fn each_dialects_clients_find_what_they_look_for() {
        let of = |dialect| Smbios::of(dialect, &instance(&[dialect]), V4).unwrap();
        let ec2 = of(Dialect::Ec2);
        assert!(ec2.uuid.starts_with("ec2") && ec2.serial == ec2.uuid);
        assert_eq!(&*of(Dialect::Openstack).product, "OpenStack Nova");
        assert!(of(Dialect::Gce).serial.starts_with("GoogleCloud-"));
        assert_eq!(&*of(Dialect::Azure).chassis_asset_tag, AZURE_CHASSIS);
        assert_eq!(&*of(Dialect::Digitalocean).manufacturer, "DigitalOcean");
        assert_eq!(&*of(Dialect::Hetzner).manufacturer, "Hetzner");
        assert_eq!(&*of(Dialect::Vultr).manufacturer, "Vultr");
        assert!(of(Dialect::Cloudstack).product.starts_with("CloudStack"));
        let url = "ds=nocloud-net;s=http://169.254.169.254/nocloud/";
        assert_eq!(&*of(Dialect::Nocloud).serial, url);
        assert_eq!(Smbios::of(Dialect::Mezame, &instance(&[Dialect::Mezame]), V4), None);
    }

    #[test]
    fn a_guest_with_ipv6_alone_is_told_where_it_finds_nocloud() {
        let instance = instance(&[Dialect::Nocloud, Dialect::Ec2]);
        let by = |metadata| Smbios::all_of(&instance, metadata).collect::<Vec<_>>();
        let (v4, v6) = (by(V4), by(METADATA6.into()));
        assert_eq!(v4[0], v6[0], "EC2's clients know the address themselves");
        assert_eq!(&*v6[1].1.serial, "ds=nocloud-net;s=http://[fd00:ec2::254]/nocloud/");
    }

    #[test]
    fn an_instance_of_several_dialects_is_introduced_by_one() {
        let several = instance(&[Dialect::Mezame, Dialect::Nocloud, Dialect::Gce]);
        let dialects: Vec<_> = Smbios::all_of(&several, V4).map(|(dialect, _)| dialect).collect();
        assert_eq!(dialects, [Dialect::Gce, Dialect::Nocloud]);
        assert_eq!(Smbios::all_of(&instance(&[Dialect::Mezame]), V4).next(), None);
    }

    #[test]
    fn a_comma_in_a_value_is_no_end_of_it_for_qemu() {
        let smbios = Smbios { product: "a,b".into(), uuid: "u".into(), ..Smbios::default() };
        assert_eq!(smbios.qemu(), ["type=1,product=a,,b,uuid=u"]);
        let azure = Smbios::of(Dialect::Azure, &instance(&[Dialect::Azure]), V4).unwrap();
        assert_eq!(azure.qemu()[1], format!("type=3,asset={AZURE_CHASSIS}"));
    }
}
